package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/store"
)

// auditReport is what `relay audit --json` prints.
type auditReport struct {
	Outbox      string             `json:"outbox"`
	Balanced    bool               `json:"balanced"` // what the audit found, before any repair
	Differences []store.Difference `json:"differences"`
	Repaired    []store.Repaired   `json:"repaired"`
}

// auditRun is one run of the command.
type auditRun struct {
	g                         *globals
	cfg                       *config.Config
	auditor                   *store.Auditor
	repair, booksOnly, asJSON bool
}

func newAuditCommand(g *globals) *cobra.Command {
	run := auditRun{g: g}
	cmd := &cobra.Command{
		Use: "audit", Short: "Compare the books with the table",
		Long: `Counts the delivered events in each slot of the ring, and compares them with the books that were kept when they were
delivered: how many, the sum of their numbers, and the sum of their versions. Rows that were deleted, inserted or edited
by hand, or passed over by a fault of ours, show as a difference; then the exit code is 3.

With --repair it makes the books agree with the table and publishes the rows in question again, in one transaction with
a line in outbox.operations. Rows that are gone cannot be published again. With --books-only nothing is published.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			if run.booksOnly && !run.repair {
				return usageError("--books-only goes with --repair")
			}
			return run.start(ctx)
		},
	}
	cmd.Flags().BoolVar(&run.repair, "repair", false, "correct the books, and publish the rows in question again")
	cmd.Flags().BoolVar(&run.booksOnly, "books-only", false, "with --repair: publish nothing")
	jsonFlag(cmd, &run.asJSON)
	return cmd
}

func (r *auditRun) start(ctx context.Context) (err error) {
	if r.cfg, err = r.g.loadConfig(); err != nil {
		return err
	}
	conn, err := connectPostgres(ctx, r.cfg, "audit")
	if err != nil {
		return err
	}
	if r.auditor, err = store.NewAuditor(ctx, conn, store.In(r.cfg.Outbox.Schema)); err != nil {
		closePostgres(conn)
		return err
	}
	defer r.auditor.Close()
	return explainBooks(r.do(ctx), r.cfg.Outbox.Schema)
}

func (r *auditRun) do(ctx context.Context) error {
	report := auditReport{Outbox: r.cfg.Outbox.Name, Differences: []store.Difference{}, Repaired: []store.Repaired{}}
	found, err := r.auditor.Audit(ctx, report.Outbox)
	if err != nil {
		return err
	}
	if report.Balanced = len(found) == 0; !report.Balanced {
		report.Differences = found
	}
	switch err := r.auditor.Record(ctx, report.Outbox, found); {
	case isForbidden(err) && !r.repair: // a role that only looks
	case err != nil:
		return err
	}
	if !r.asJSON {
		r.print(report)
	}
	if r.repair {
		for i := range found {
			fixed, err := r.mend(ctx, &found[i])
			if err != nil {
				return err
			}
			if fixed != nil {
				report.Repaired = append(report.Repaired, *fixed)
			}
		}
	}
	if r.asJSON {
		if err := printJSON(r.g.stdout, report); err != nil {
			return err
		}
	}
	if !report.Balanced && !r.repair {
		return errFound
	}
	return nil
}

// mend repairs one slot, and hands its events to the parked runner.
func (r *auditRun) mend(ctx context.Context, d *store.Difference) (*store.Repaired, error) {
	fixed, err := r.auditor.Repair(ctx, d.Name, d.Slot, r.booksOnly, r.g.operationNote("audit", runName()))
	if err != nil || fixed == nil {
		return nil, err
	}
	if !r.asJSON {
		fmt.Fprintf(r.g.stdout, "slot %d: the books agree with the table again\n", fixed.Slot)
		if fixed.Gone > 0 {
			fmt.Fprintf(r.g.stdout, "  %s cannot be published again: gone from the table\n", count(int(fixed.Gone), "event"))
		}
	}
	if fixed.Replay == 0 {
		return fixed, nil
	}
	replayer := store.NewReplayer(r.auditor.Conn(), store.In(r.cfg.Outbox.Schema), d.Name)
	feed := replayFeed{g: r.g, replayer: replayer, quiet: r.asJSON}
	return fixed, feed.carryOn(ctx, fixed.Replay, false)
}

func (r *auditRun) print(report auditReport) {
	w, s := r.g.stdout, r.g.styleFor(r.g.stdout)
	if report.Balanced {
		fmt.Fprintf(w, "%s: the books of outbox %s agree with the table\n", s.good("ok"), report.Outbox)
		return
	}
	for i := range report.Differences {
		fmt.Fprintf(w, "%s: %s\n", s.bad("difference"), differenceInWords(&report.Differences[i]))
	}
	if !r.repair {
		fmt.Fprintln(w, "Nothing of these slots is discarded. relay audit --repair publishes the rows again and corrects the books.")
	}
}

// differenceInWords is one line about one slot.
func differenceInWords(d *store.Difference) string {
	var parts []string
	add := func(n int64, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("at least %s %s", count(int(n), "row"), what))
		}
	}
	add(d.Missing, "missing")
	add(d.Extra, "never settled")
	add(d.Altered, "altered")
	where := fmt.Sprintf("seq %d to %d", d.FromSeq, d.ToSeq)
	if d.Exact != nil {
		where = "seq " + firstSeqs(d.Exact, 10)
	}
	return fmt.Sprintf("slot %d, %s: %s; booked %s, found %s", d.Slot, where, strings.Join(parts, ", "),
		count(int(d.BookedRows), "row"), grouped(d.FoundRows))
}

// firstSeqs lists at most so many.
func firstSeqs(seqs []int64, most int) string {
	var parts []string
	for i, seq := range seqs {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %s more", grouped(int64(len(seqs)-most))))
			break
		}
		parts = append(parts, strconv.FormatInt(seq, 10))
	}
	return strings.Join(parts, ", ")
}

func isForbidden(err error) bool {
	server, ok := errors.AsType[*pgconn.PgError](err)
	return ok && server.Code == "42501"
}

// explainBooks adds the cure where the schema is older than this program.
func explainBooks(err error, schema string) error {
	if server, ok := errors.AsType[*pgconn.PgError](err); ok && (server.Code == "42703" || server.Code == "42883") {
		return fmt.Errorf("schema %q is older than this relay: %s; run relay migrate up", schema, server.Message)
	}
	return explainMissing(err, schema)
}
