package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/clients"
)

// Set by the linker: -X main.version=v1.2.3 -X main.commit=… -X main.date=….
var version, commit, date string

// build says what this binary was made of.
type build struct {
	Version    string `json:"version"`
	Commit     string `json:"commit"`
	Date       string `json:"date"`
	Librdkafka string `json:"librdkafka,omitempty"` // "" in a build without cgo
	FranzGo    string `json:"franz_go"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
}

// thisBuild takes what the linker was told, else what the Go tool noted.
func thisBuild() build {
	b := build{
		Version: version, Commit: commit, Date: date,
		Librdkafka: clientVersion(publisher.ClientLibrdkafka), FranzGo: clientVersion(publisher.ClientFranz), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if b.Version == "" && info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision" && b.Commit == "":
			b.Commit = setting.Value
		case setting.Key == "vcs.time" && b.Date == "":
			b.Date = setting.Value
		}
	}
	return b
}

// String names what a report of a problem has to name.
func (b build) String() string {
	text := b.Version
	if b.Commit != "" {
		text += fmt.Sprintf(" (%.12s)", b.Commit)
	}
	if b.Librdkafka != "" {
		text += ", librdkafka " + b.Librdkafka
	}
	return text + ", franz-go " + b.FranzGo + ", " + b.Go + " " + b.Platform
}

func newVersionCommand(g *globals) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "version", Short: "Print the versions of relay, its Kafka clients and Go",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := thisBuild()
			if asJSON {
				return printJSON(g.stdout, b)
			}
			line := "relay " + b.Version
			if b.Commit != "" {
				line += fmt.Sprintf(" (%.12s, %s)", b.Commit, b.Date)
			}
			librdkafka := b.Librdkafka
			if librdkafka == "" {
				librdkafka = "is not in this build, which was made without cgo"
			}
			_, err := fmt.Fprintf(g.stdout, "%s\nlibrdkafka %s\nfranz-go %s\n%s %s\n", line, librdkafka, b.FranzGo, b.Go, b.Platform)
			return err
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// clientVersion is "" for a client that is not in this build.
func clientVersion(name string) string {
	c, err := clients.Named(name)
	if err != nil {
		return ""
	}
	return c.Version()
}

// jsonFlag adds --json, which every command that reads has.
func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print one JSON document")
}
