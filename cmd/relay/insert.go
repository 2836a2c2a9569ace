package main

import "github.com/spf13/cobra"

func newInsertCommand(*globals) *cobra.Command { return &cobra.Command{Use: "insert"} }
