package main

import (
	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/bench/figures"
)

func newJoinCommand() *cobra.Command {
	return &cobra.Command{
		Use: "join OUT.JSON BENCH.JSON...", Short: "Make one report of several that were made on one machine, of different workloads",
		Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			var all []*figures.Report
			for _, path := range args[1:] {
				report, err := figures.Read(path)
				if err != nil {
					return usageError{err}
				}
				all = append(all, report)
			}
			report, err := figures.Join(all)
			if err != nil {
				return usageError{err}
			}
			return report.Write(args[0])
		},
	}
}
