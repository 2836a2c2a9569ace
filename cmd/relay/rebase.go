package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/internal/store"
)

func newRebaseCommand(g *globals) *cobra.Command {
	var yes, force, asJSON bool
	cmd := &cobra.Command{
		Use: "rebase", Short: "After a dump was restored into another cluster, or pg_upgrade: deliver what is pending",
		Long: `An outbox that was dumped and restored into another database cluster holds transaction ids that mean nothing there, and
relay run refuses to guess. rebase gives the events that are still to be delivered ids of this cluster, in their order,
and sets the cursor before them, in one transaction; writers wait for it. Run it as the owner of the schema. Events
written after the dump was restored are delivered too. What was published after the dump was taken is published again.

After pg_upgrade, which the books prove, the cursor stays where it is and nothing is published again. Where the cursor
belongs to this cluster it does nothing. With --force it gives new ids in both cases.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			if !yes && !isTerminal(g.stdin) {
				return usageError("there is no terminal to ask on: say --yes to rebase")
			}
			cfg, err := g.loadConfig()
			if err != nil {
				return err
			}
			conn, err := connectPostgres(ctx, cfg, "rebase")
			if err != nil {
				return err
			}
			defer closePostgres(conn)
			if !yes {
				question := fmt.Sprintf("Rebase schema %s of %s?", cfg.Outbox.Schema, place(&conn.Config().Config))
				if err := confirm(ctx, g, question); err != nil {
					return err
				}
			}
			done, err := store.Rebase(ctx, conn, store.In(cfg.Outbox.Schema), force)
			if err != nil {
				return explainOwner(explainBooks(err, cfg.Outbox.Schema), err)
			}
			if asJSON {
				return printJSON(g.stdout, done)
			}
			return g.printRebased(done)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&yes, "yes", false, "do not ask")
	flags.BoolVar(&force, "force", false, "give new ids in any case")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// explainOwner replaces the cure for a missing right: this command needs the owner's.
func explainOwner(explained, err error) error {
	if isForbidden(err) {
		return fmt.Errorf("%w: run it as the owner of the schema", err)
	}
	return explained
}

func (g *globals) printRebased(done store.Rebased) error {
	switch {
	case !done.Needed:
		_, err := fmt.Fprintln(g.stdout, "nothing to do: cursor and events belong to this cluster")
		return err
	case done.Upgraded:
		_, err := fmt.Fprintln(g.stdout, "the cursor stays where it is: the books show that pg_upgrade made this cluster; a running relay begins within seconds")
		return err
	}
	_, err := fmt.Fprintf(g.stdout, "%s to deliver, %s delivered ones given an old id; a running relay begins within seconds\n",
		count(int(done.Pending), "event"), grouped(done.Kept))
	return err
}
