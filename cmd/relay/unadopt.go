package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/internal/adopt"
	"github.com/outboxrelay/relay/internal/config"
)

// unadoptResult is what `relay unadopt --json` prints.
type unadoptResult struct {
	Table     string `json:"table"`
	Unadopted bool   `json:"unadopted"` // false: it was not adopted
	Waited    int64  `json:"waited"`    // events that waited for a backfill, which go to the outbox now
}

func newUnadoptCommand(g *globals) *cobra.Command {
	var abandon, asJSON bool
	cmd := &cobra.Command{
		Use: "unadopt TABLE", Short: "End what relay adopt began: rows of the table give no more events",
		Long: `Takes the triggers, their function and the record of the adoption away. Events that are in the outbox stay there and
are delivered. Rows of transactions that commit later give none.

While a backfill is not over it is refused. --abandon does it all the same: events of new rows that wait for the backfill
go to the outbox, older rows that it has not come to give none.`,
		Args: oneTable,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			var cfg *config.Config
			var adopter *adopt.Adopter
			conn, err := openAdopter(ctx, g, "unadopt", &cfg, &adopter)
			if err != nil {
				return err
			}
			defer closePostgres(conn)
			result := unadoptResult{Table: args[0]}
			old, err := adopt.FindFormer(ctx, conn, cfg.Outbox.Schema, args[0])
			former := old != nil
			if err == nil && !former {
				old, err = adopt.Find(ctx, conn, cfg.Outbox.Schema, args[0])
			}
			if err != nil {
				return explainMissing(err, cfg.Outbox.Schema)
			}
			if old != nil {
				result.Table, result.Unadopted = old.Table, true
				result.Waited, err = adopter.Remove(ctx, cfg.Outbox.Schema, old, abandon)
			}
			switch {
			case errors.Is(err, adopt.ErrUnfinished):
				return fmt.Errorf("the backfill of %s is not over: relay adopt with its --map and --backfill goes on, --abandon ends it here", old.Table)
			case err != nil:
				return err
			case asJSON:
				return printJSON(g.stdout, result)
			case old == nil:
				_, err = fmt.Fprintf(g.stdout, "nothing to do: %s is not adopted\n", args[0])
				return err
			}
			what := "rows that are inserted give no more events"
			if former {
				what = "the table that had this name when it was adopted"
			}
			fmt.Fprintf(g.stdout, "%s  %s: %s\n", g.styleFor(g.stdout).good("unadopted"), result.Table, what)
			if result.Waited > 0 {
				fmt.Fprintf(g.stdout, "%s that waited for the backfill will be delivered\n", count(int(result.Waited), "event"))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&abandon, "abandon", false, "also in the middle of a backfill")
	jsonFlag(cmd, &asJSON)
	return cmd
}
