package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/internal/store"
)

// rateSample is how long the counter of delivered events is watched to tell a rate.
const rateSample = time.Second

// watchEvery is the pause of --watch, besides rateSample.
const watchEvery = time.Second

// statusReport is what `relay status --json` prints: the outbox as the database knows it, at one moment.
type statusReport struct {
	Time    time.Time     `json:"time"` // the database's clock
	Schema  string        `json:"schema"`
	Name    string        `json:"name"`
	Known   bool          `json:"known"` // a relay of this name has run at least once
	Leader  *leaderReport `json:"leader"`
	Epoch   int64         `json:"epoch"`
	Pending int64         `json:"pending"`
	// PendingAbout says that pending is a close guess from the sequence: so many were not counted one by one.
	PendingAbout bool             `json:"pending_about"`
	Lag          float64          `json:"lag_seconds"`
	Delivered    int64            `json:"delivered"` // since the name was first used
	Rate         float64          `json:"rate_per_second"`
	SettledAt    *time.Time       `json:"settled_at"`
	Parked       map[string]int64 `json:"parked"` // by state; every state is there
	Ring         []slotReport     `json:"ring"`
	RingOldest   float64          `json:"ring_oldest_seconds"` // age of the oldest event in the table
	LastError    *lastError       `json:"last_error"`
}

// leaderReport is the holder of a lease that has not expired.
type leaderReport struct {
	Holder           string    `json:"holder"`
	ExpiresAt        time.Time `json:"expires_at"`
	RemainingSeconds float64   `json:"remaining_seconds"`
}

// slotReport is one slot of the ring, and what the books say of it.
type slotReport struct {
	Slot        int   `json:"slot"`
	Current     bool  `json:"current"`      // events are inserted here now
	RowsAbout   int64 `json:"rows_about"`   // as PostgreSQL's statistics estimate
	Bytes       int64 `json:"bytes"`        // with indexes
	SettledRows int64 `json:"settled_rows"` // the books: settled since the slot was last emptied
	LastSeq     int64 `json:"last_seq"`
	// The last audit: when, and what it found; null when the books balance.
	AuditedAt  *time.Time        `json:"audited_at"`
	Difference *store.Difference `json:"difference"`
}

type lastError struct {
	Message string     `json:"message"`
	At      *time.Time `json:"at"`
}

func newStatusCommand(g *globals) *cobra.Command {
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show leader, lag, rate, parked events, ring and books on one page",
		Long: `Reads the database and prints who leads, what waits, how fast events are delivered (watched for a second), what is
parked, and what the ring holds. It works whether or not a relay runs, and from anywhere.

--watch shows it anew every two seconds; with --json that is one document after the other.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			cfg, err := g.loadConfig()
			if err != nil {
				return err
			}
			conn, err := connectPostgres(ctx, cfg, "status")
			if err != nil {
				return err
			}
			defer closePostgres(conn)
			for {
				report, err := readStatus(ctx, conn, cfg.Outbox.Schema, cfg.Outbox.Name, rateSample)
				switch {
				case watch && ctx.Err() != nil:
					return nil
				case err != nil:
					return explainMissing(err, cfg.Outbox.Schema)
				case asJSON:
					err = printJSON(g.stdout, report)
				default:
					err = g.printStatus(report, watch)
				}
				if err != nil || !watch {
					return err
				}
				pause(ctx, watchEvery)
			}
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again and again, until Ctrl-C")
	return cmd
}
