package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/bench/figures"
)

func newReportCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "report BENCH.JSON", Short: "Make docs/performance.md and its plot from a report", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			report, err := figures.Read(args[0])
			if err != nil {
				return usageError{err}
			}
			page, err := report.Page()
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(out, "performance.md"), page, 0o644); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(out, "performance.svg"), report.Plot("drain"), 0o644)
		},
	}
	cmd.Flags().StringVar(&out, "out", "docs", "`FOLDER` of the page")
	return cmd
}
