package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/bench/sut"
)

// newChildCommand is for this program itself: systems that it is, each in a process of its own.
func newChildCommand() *cobra.Command {
	var brokers []string
	var topic string
	cmd := &cobra.Command{Use: "child", Short: "Be a system under test", Hidden: true}
	cmd.PersistentFlags().StringSliceVar(&brokers, "brokers", nil, "`HOST:PORT`")
	cmd.PersistentFlags().StringVar(&topic, "topic", "", "`NAME`")

	var client string
	var load sut.Load
	bare := &cobra.Command{Use: "bare", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		if err := sut.RunBare(cmd.Context(), client, brokers, topic, load); err != nil {
			return err
		}
		// Its costs are read while it is there.
		<-cmd.Context().Done()
		return nil
	}}
	bare.Flags().StringVar(&client, "client", "", "librdkafka or franz-go")
	bare.Flags().IntVar(&load.Events, "events", 0, "how many")
	bare.Flags().IntVar(&load.Keys, "keys", 1, "how many")
	bare.Flags().IntVar(&load.Bytes, "bytes", 300, "of a payload")

	var postgres string
	poller := &cobra.Command{Use: "poller", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		if err := sut.RunPoller(cmd.Context(), postgres, brokers); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}}
	poller.Flags().StringVar(&postgres, "postgres", "", "`URL`")
	cmd.AddCommand(bare, poller)
	return cmd
}
