package main

import (
	"github.com/spf13/cobra"
)

func newCompletionCommand(g *globals) *cobra.Command {
	return newGroup("completion", "Print a completion script for bash, zsh or fish",
		&cobra.Command{
			Use: "bash", Short: "For bash: source <(relay completion bash)", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Root().GenBashCompletionV2(g.stdout, true) },
		},
		&cobra.Command{
			Use: "zsh", Short: `For zsh: relay completion zsh > "${fpath[1]}/_relay"`, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Root().GenZshCompletion(g.stdout) },
		},
		&cobra.Command{
			Use: "fish", Short: "For fish: relay completion fish > ~/.config/fish/completions/relay.fish", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Root().GenFishCompletion(g.stdout, true) },
		},
	)
}
