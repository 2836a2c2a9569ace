package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/internal/config"
)

func newConfigCommand(g *globals) *cobra.Command {
	return newGroup("config", "Check or print the configuration", newConfigCheckCommand(g), newConfigPrintCommand(g))
}

// configReport is what `relay config check --json` prints.
type configReport struct {
	OK       bool           `json:"ok"`
	File     string         `json:"file"` // "" when there is none
	Faults   []config.Fault `json:"faults"`
	Warnings []config.Fault `json:"warnings"`
}

func newConfigCheckCommand(g *globals) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "check", Short: "Find every fault of the configuration, without connecting to anything",
		Long: `Reads the configuration file and the environment and prints every fault with its place. Exits with 2 when there
is one. Nothing is connected to; that is what relay check does.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := loadConfig(g.configFile, g.env)
			faults, isFaults := errors.AsType[config.Faults](err)
			if err != nil && !isFaults {
				return err
			}
			if asJSON {
				report := configReport{OK: err == nil, File: cfg.File(), Faults: faults, Warnings: cfg.Warnings()}
				if report.Faults == nil {
					report.Faults = []config.Fault{}
				}
				if report.Warnings == nil {
					report.Warnings = []config.Fault{}
				}
				if printErr := printJSON(g.stdout, report); printErr != nil || err == nil {
					return printErr
				}
				return err
			}
			s := g.styleFor(g.stdout)
			for _, w := range cfg.Warnings() {
				fmt.Fprintf(g.stdout, "%s %s\n", s.warn("warn"), w)
			}
			if err != nil {
				return err
			}
			from := cfg.File()
			if from == "" {
				from = "defaults and environment, no file"
			}
			_, err = fmt.Fprintf(g.stdout, "%s   the configuration is valid (%s)\n", s.good("ok"), from)
			return err
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newConfigPrintCommand(g *globals) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "print", Short: "Print the effective configuration, with secrets as ***",
		Long: `Prints the configuration as it takes effect: defaults, overlaid by the file, overlaid by the environment. What is
not a default says where it comes from. Secrets are shown as ***.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := g.loadConfig(config.PostgresOptional)
			if err != nil {
				return err
			}
			if asJSON {
				return cfg.WriteJSON(g.stdout)
			}
			return cfg.WriteTOML(g.stdout)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
