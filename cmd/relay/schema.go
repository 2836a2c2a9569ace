package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/toolschema"
)

func newSchemaCommand(g *globals) *cobra.Command {
	var tool, out string
	var model, asJSON bool
	cmd := &cobra.Command{
		Use: "schema --for TOOL", Short: "Print the migrations as a file for another migration tool",
		Long: `Prints one migration for the tool, which brings an empty or an older schema to the newest version, and says in its
first lines what the tool has to be told so that it leaves the schema alone. relay migrate status knows afterwards
that it was applied. It connects to nothing.

--model prints the table events as the tool describes tables, for those who insert with it.`,
		Example: `  relay schema --for typeorm --out src
  relay schema --for sql > V7__outbox.sql
  relay schema --for drizzle --model > src/outbox-event.table.ts`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			tools := strings.Join(toolschema.Tools(), ", ")
			switch {
			case tool == "":
				return usageError("say for which tool: --for " + tools)
			case out != "" && (model || asJSON), model && asJSON:
				return usageError("--out, --model and --json exclude each other: --out and --json have the model too")
			}
			cfg, err := g.loadConfig(config.PostgresOptional)
			if err != nil {
				return err
			}
			document, err := toolschema.For(tool, cfg.Outbox.Schema, time.Now())
			if err != nil {
				return usageError(fmt.Sprintf("--for %q: there are %s", tool, tools))
			}
			switch {
			case asJSON:
				return printJSON(g.stdout, schemaReportOf(document))
			case out != "":
				return g.writeSchema(document, out)
			case model && document.Model == nil:
				return usageError("--model: there is none for " + tool)
			case model:
				_, err = fmt.Fprint(g.stdout, document.Model.Text)
			default:
				_, err = fmt.Fprint(g.stdout, document.Migration.Text)
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&tool, "for", "", "`TOOL`: "+strings.Join(toolschema.Tools(), ", "))
	flags.StringVar(&out, "out", "", "write the files into this `FOLDER`, under the names that the tool expects")
	flags.BoolVar(&model, "model", false, "print the table events as the tool describes it")
	jsonFlag(cmd, &asJSON)
	_ = cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions(toolschema.Tools(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.MarkFlagDirname("out")
	return cmd
}

// schemaReport is what `relay schema --json` prints.
type schemaReport struct {
	Tool   string       `json:"tool"`
	Schema string       `json:"schema"`
	Newest string       `json:"newest"`
	Files  []schemaFile `json:"files"`
}

// schemaFile is one file of it; Kind is migration or model.
type schemaFile struct {
	Kind string `json:"kind"`
	Path string `json:"path"`
	Text string `json:"text"`
}

func schemaReportOf(d toolschema.Document) schemaReport {
	report := schemaReport{Tool: d.Tool, Schema: d.Schema, Newest: d.Newest,
		Files: []schemaFile{{"migration", d.Migration.Path, d.Migration.Text}}}
	if d.Model != nil {
		report.Files = append(report.Files, schemaFile{"model", d.Model.Path, d.Model.Text})
	}
	return report
}

// writeSchema writes nothing over what is there: a migration that was applied must stay, and a model may be edited.
func (g *globals) writeSchema(d toolschema.Document, folder string) error {
	s := g.styleFor(g.stdout)
	for _, file := range schemaReportOf(d).Files {
		path := filepath.Join(folder, filepath.FromSlash(file.Path))
		there, err := os.ReadFile(path)
		switch {
		case err == nil && bytes.Equal(there, []byte(file.Text)):
			fmt.Fprintf(g.stdout, "%s  %s, which is the same\n", s.faint("kept"), path)
			continue
		case err == nil && file.Kind == "model":
			fmt.Fprintf(g.stdout, "%s  %s, which differs from: relay schema --for %s --model\n", s.warn("kept"), path, d.Tool)
			continue
		case err == nil:
			return fmt.Errorf("%s is there already and differs: move it away, or take another folder", path)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("look for %s: %w", path, err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make the folder of a %s: %w", file.Kind, err)
		}
		if err := os.WriteFile(path, []byte(file.Text), 0o644); err != nil {
			return fmt.Errorf("write a %s: %w", file.Kind, err)
		}
		fmt.Fprintf(g.stdout, "%s  %s\n", s.good("wrote"), path)
	}
	return nil
}
