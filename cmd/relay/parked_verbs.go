package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/spf13/cobra"
)

// parkedVerb is one of the things that are done to many parked events.
type parkedVerb struct {
	name string
	// byID and bySelection call the migrations' functions.
	byID, bySelection string
	// done says what happened, about "3 events".
	question, done, progress string
	// dated says that bySelection takes the moment at which scheduled events become due.
	dated bool
}

func newParkedRetryCommand(g *globals) *cobra.Command {
	return newParkedVerbCommand(g, retryVerb(), &cobra.Command{
		Use: "retry [ID…]", Short: "Try parked events again",
		Long: `Asks for parked events again: those with the given ids, or those that --topic, --key, --state and --reason select
together, or --all. A dead event becomes held, and the relay tries it; a scheduled one is delivered now; a held one, one
behind another and a replay are looked at without waiting. None loses its place in the order of its key.`,
		Example: "  relay parked retry --topic orders --state dead\n  relay parked retry 0198c0de-0000-7000-8000-000000000000 --yes",
	})
}

func newParkedDropCommand(g *globals) *cobra.Command {
	return newParkedVerbCommand(g, dropVerb(), &cobra.Command{
		Use: "drop [ID…]", Short: "Give up parked events: they will never be delivered",
		Long: `Deletes parked events: those with the given ids, or those that --topic, --key, --state and --reason select together,
or --all. They will never be delivered, and events behind them go on. One that is just being sent may still arrive.`,
		Example: "  relay parked drop --topic orders --reason too_large --dry-run\n  relay parked drop 0198c0de-0000-7000-8000-000000000000",
	})
}

func retryVerb() parkedVerb {
	return parkedVerb{
		name:        "retry",
		byID:        `select parked_retry($1, relay => $2, note => $3)`,
		bySelection: `select parked_retry_where($1, $2, $3, $4, everything => $5, relay => $6, note => $7, after_no => $8, to_no => $9, due => $10)`,
		question:    "Try them again?",
		done:        "asked for %s again; a running relay tries them at once\n",
		progress:    "asked for",
		dated:       true,
	}
}

func dropVerb() parkedVerb {
	return parkedVerb{
		name:        "drop",
		byID:        `select parked_drop($1, relay => $2, note => $3)`,
		bySelection: `select parked_drop_where($1, $2, $3, $4, everything => $5, relay => $6, note => $7, after_no => $8, to_no => $9)`,
		question:    "Drop them? They will never be delivered.",
		done:        "dropped %s\n",
		progress:    "dropped",
	}
}

// parkedTarget is what a verb is about: ids, or a selection.
type parkedTarget struct {
	ids       []pgtype.UUID
	selection parkedSelection
	all       bool
}

// where is the condition for the rows, and its arguments; more may be appended.
func (t parkedTarget) where(name string) (condition string, args []any) {
	if t.ids != nil {
		return "name = $1 and id = any($2)", []any{name, t.ids}
	}
	return t.selection.where(name)
}

// parkedRun is one run of a verb.
type parkedRun struct {
	g           *globals
	table       *parkedTable
	verb        parkedVerb
	target      parkedTarget
	yes, dryRun bool
	asJSON      bool
	deadline    time.Time // no batch begins after it; zero: none
}

func newParkedVerbCommand(g *globals, verb parkedVerb, cmd *cobra.Command) *cobra.Command {
	var filter parkedFlags
	run := parkedRun{g: g, verb: verb}
	cmd.Args = func(_ *cobra.Command, args []string) error {
		_, err := eventIDs(args)
		return err
	}
	cmd.Long += `

It says how many first and asks. Where nobody can be asked, --yes is needed. --dry-run only says how many. Each
transaction of up to ` + fmt.Sprint(verbBatch) + ` events leaves a row in the table operations: who, when, what, how many, which.`
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop := interruptible(cmd)
		defer stop()
		if err := run.aim(cmd, &filter, args); err != nil {
			return err
		}
		if !run.yes && !run.dryRun && !isTerminal(g.stdin) {
			return usageError(fmt.Sprintf("there is no terminal to ask on: say --yes to %s, or --dry-run to see how many", verb.name))
		}
		var err error
		if run.table, err = g.openParked(ctx, verb.name); err != nil {
			return err
		}
		defer closePostgres(run.table.conn)
		return run.table.explain(run.do(ctx))
	}
	filter.add(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&run.target.all, "all", false, "all parked events of the outbox")
	flags.BoolVar(&run.yes, "yes", false, "do not ask")
	flags.BoolVar(&run.dryRun, "dry-run", false, "say how many, and change nothing")
	jsonFlag(cmd, &run.asJSON)
	return cmd
}

// aim reads what the verb is about.
func (r *parkedRun) aim(cmd *cobra.Command, filter *parkedFlags, args []string) (err error) {
	if r.target.selection, err = filter.selection(cmd); err != nil {
		return err
	}
	return r.aimAt(args)
}

// aimAt adds ids to what the selection says, and makes sure that one thing is meant.
func (r *parkedRun) aimAt(args []string) (err error) {
	if err := r.target.selection.check(); err != nil {
		return err
	}
	chosen := 0
	for _, given := range []bool{len(args) > 0, !r.target.selection.isEmpty(), r.target.all} {
		if given {
			chosen++
		}
	}
	switch {
	case chosen == 0:
		return usageError("say which events: ids, or --topic, --key, --state, --reason, or --all")
	case chosen > 1:
		return usageError("event ids, --all and the other selections exclude each other")
	case len(args) > 0:
		r.target.ids, err = eventIDs(args)
	}
	return err
}

// parkedCount is how many events of a state and topic a verb is about.
type parkedCount struct {
	State  string `json:"state"`
	Topic  string `json:"topic"`
	Events int64  `json:"events"`
}

// countsShown is how many pairs of state and topic are named.
const countsShown = 20

// parkedResult is what a verb prints with --json.
type parkedResult struct {
	Outbox  string        `json:"outbox"`
	Verb    string        `json:"verb"`
	DryRun  bool          `json:"dry_run"`
	Matched int64         `json:"matched"`
	Changed int64         `json:"changed"`
	By      []parkedCount `json:"by"`         // the largest, at most 20
	Missing int           `json:"not_parked"` // of the ids given
	pairs   int64         // how many By would have
	lastNo  int64         // newer rows are not meant
}

func (r *parkedRun) do(ctx context.Context) error {
	result, err := r.table.count(ctx, r.target)
	if err != nil {
		return err
	}
	result.Verb, result.DryRun = r.verb.name, r.dryRun
	if result.Matched == 0 && r.target.ids != nil {
		return fmt.Errorf("none of the events is parked in outbox %q: they were delivered or dropped, or never had to wait", r.table.name)
	}
	if !r.asJSON || !r.yes && !r.dryRun {
		r.say(result)
	}
	if !r.dryRun && result.Matched > 0 {
		if !r.yes {
			if err := confirm(ctx, r.g, r.verb.question); err != nil {
				return err
			}
		}
		if result.Changed, err = r.change(ctx, result); err != nil {
			return err
		}
	}
	if r.asJSON {
		return printJSON(r.g.stdout, result)
	}
	if !r.dryRun && result.Matched > 0 {
		fmt.Fprintf(r.g.stdout, r.verb.done, count(int(result.Changed), "event"))
	}
	return nil
}

// count counts by state and topic.
func (p *parkedTable) count(ctx context.Context, target parkedTarget) (result parkedResult, err error) {
	result = parkedResult{Outbox: p.name, By: []parkedCount{}}
	condition, args := target.where(p.name)
	rows, err := p.conn.Query(ctx, fmt.Sprintf(`
select state, topic, count(*), sum(count(*)) over ()::bigint, count(*) over (), max(max(parked_no)) over ()
  from parked where %s group by state, topic order by count(*) desc, state, topic limit %d`, condition, countsShown), args...)
	if err != nil {
		return result, fmt.Errorf("count parked events: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var c parkedCount
		if err := rows.Scan(&c.State, &c.Topic, &c.Events, &result.Matched, &result.pairs, &result.lastNo); err != nil {
			return result, fmt.Errorf("count parked events: %w", err)
		}
		result.By = append(result.By, c)
	}
	if err := rows.Err(); err != nil {
		return result, fmt.Errorf("count parked events: %w", err)
	}
	if target.ids == nil {
		return result, nil
	}
	err = p.conn.QueryRow(ctx, `
select count(*) from unnest($2::uuid[]) id where not exists (select from parked p where p.name = $1 and p.id = id.id)`,
		p.name, target.ids).Scan(&result.Missing)
	if err != nil {
		return result, fmt.Errorf("count parked events: %w", err)
	}
	return result, nil
}

// say tells a person what the verb is about. With --json stdout is the document's.
func (r *parkedRun) say(result parkedResult) {
	w := r.g.stdout
	if r.asJSON {
		w = r.g.stderr
	}
	s := r.g.styleFor(w)
	if result.Matched == 0 {
		fmt.Fprintf(w, "nothing is parked in outbox %s that matches\n", result.Outbox)
		return
	}
	fmt.Fprintf(w, "%s of outbox %s:\n", count(int(result.Matched), "parked event"), s.bold(result.Outbox))
	for _, c := range result.By {
		fmt.Fprintf(w, "%12s %s for %s\n", grouped(c.Events), paintState(s, c.State), c.Topic)
	}
	if more := result.pairs - int64(len(result.By)); more > 0 {
		fmt.Fprintf(w, "%12s and %s of state and topic with fewer\n", "", count(int(more), "pair"))
	}
	if result.Missing > 0 {
		fmt.Fprintf(w, "%12s not parked, of the ids given\n", grouped(int64(result.Missing)))
	}
}

// confirm asks on the terminal, and returns nil for a yes.
func confirm(ctx context.Context, g *globals, question string) error {
	fmt.Fprintf(g.stderr, "%s [y/N] ", question)
	answers := make(chan string, 1)
	go func() { // a read from a terminal cannot be ended; after Ctrl-C it ends with the process
		answer, _ := bufio.NewReader(g.stdin).ReadString('\n')
		answers <- answer
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case answer := <-answers:
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "y", "yes":
			return nil
		}
		return errors.New("nothing was changed")
	}
}

// runName groups the operations of one run.
func runName() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
