package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/internal/torture/check"
)

func newCheckCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "check FOLDER",
		Short: "Judge a finished run again, by its journals alone",
		Long:  `Judge a finished run again, by its journals alone, and write its reports anew. Exit code 3: an invariant was violated.`,
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			book, err := check.Load(args[0])
			if err != nil {
				return err
			}
			result := check.Check(book)
			if err := result.WriteReports(args[0]); err != nil {
				return err
			}
			return verdict(stdout, result)
		},
	}
}

func newRecordCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "record FOLDER...",
		Short: "Print the runs' rows of docs/track-record.md, from their report.json",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, dir := range args {
				result, err := check.ReadReport(dir)
				if err != nil {
					return err
				}
				fmt.Fprintln(stdout, result.Row())
			}
			return nil
		},
	}
}
