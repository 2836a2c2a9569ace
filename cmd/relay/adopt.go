package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/internal/adopt"
	"github.com/outboxrelay/relay/internal/config"
)

// adoptRun is one run of `relay adopt`.
type adoptRun struct {
	g                             *globals
	cfg                           *config.Config
	adopter                       *adopt.Adopter
	plan                          *adopt.Plan
	fields                        []string
	order, publication            string
	backfill, replace, print, yes bool
	asJSON                        bool
}

// adoptResult is what `relay adopt --json` prints.
type adoptResult struct {
	Table string `json:"table"`
	// Action is adopted; unchanged; repaired: triggers were missing or disabled; replaced: by another map; or resumed: a
	// backfill that had been interrupted.
	Action     string    `json:"action"`
	Map        adopt.Map `json:"map"`
	OrderBy    string    `json:"order_by"` // "": the order in which rows come
	Repaired   []string  `json:"repaired"`
	Backfilled *int64    `json:"backfilled"` // rows, over all runs; null when no backfill was asked for
	Waited     int64     `json:"waited"`     // events of newer rows that this run moved behind those
}

func newAdoptCommand(g *globals) *cobra.Command {
	run := adoptRun{g: g}
	cmd := &cobra.Command{
		Use: "adopt TABLE", Short: "Let an existing outbox table of another layout feed the outbox",
		Long: `Makes a statement trigger on the table that copies each row which is inserted into the outbox, in the same transaction,
so the application stays as it is. Columns are mapped by the name of a layout, by fields, or by both:

  debezium      id, aggregatetype, aggregateid, type, payload; topic outbox.event.<aggregatetype>
  nest_outbox   the table nest_outbox.messages of @nestjs/outbox
  FIELD=VALUE   FIELD is topic, key, type, payload, headers, id, partition, deliver_at or header.NAME; VALUE is a column,
                text with {column} in it, or a constant in single quotes; nothing leaves the field out

Rows that are there already stay out, unless --backfill copies them first, in the order of a column; events of rows that
come meanwhile wait until that is over. It says how many first and asks. A backfill that was interrupted goes on where
it was when the command is given again.

Given again with the same map it does nothing; another map needs --replace. --print shows the SQL and changes nothing.
Run it as the owner of the outbox's schema who also owns the table.`,
		Example: `  relay adopt public.outboxevent --map debezium
  relay adopt public.outboxevent --map debezium,topic={aggregatetype} --print
  relay adopt shop.messages --map topic=destination,key=order_id,payload=body,header.tenant=tenant --order position --backfill`,
		Args: oneTable,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			return run.start(ctx, args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&run.fields, "map", nil, "a layout, and fields as `FIELD=VALUE`; separated by commas, or given more than once")
	flags.StringVar(&run.order, "order", "", "`COLUMN` that says which row came first (default: the layout's, or an identity or serial column)")
	flags.BoolVar(&run.backfill, "backfill", false, "copy the rows that are there already, before all that come")
	flags.BoolVar(&run.replace, "replace", false, "the table is adopted: let rows go by this map from now on")
	flags.StringVar(&run.publication, "leave-publication", "", "take the table out of this `PUBLICATION` in the same transaction: Debezium ends where relay begins")
	flags.BoolVar(&run.print, "print", false, "print the SQL that adopts the table, and change nothing")
	flags.BoolVar(&run.yes, "yes", false, "do not ask before a backfill")
	jsonFlag(cmd, &run.asJSON)
	return cmd
}

func oneTable(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError("say which table, such as public.outboxevent")
	}
	return nil
}

// check finds flags that do not go together.
func (r *adoptRun) check() error {
	switch {
	case len(r.fields) == 0:
		return usageError("say what becomes what: --map debezium, --map nest_outbox or --map topic=COLUMN,payload=COLUMN,…")
	case r.backfill && r.print:
		return usageError("--backfill goes in many steps, which cannot be printed")
	case r.backfill && r.replace:
		return usageError("--replace is about rows that come; --backfill is about those that were there when the table was adopted")
	case r.backfill && r.publication != "":
		return usageError("--leave-publication goes without --backfill: the rows that are there are Debezium's")
	case r.print && r.asJSON:
		return usageError("--print prints SQL, not JSON")
	case r.backfill && !r.yes && !isTerminal(r.g.stdin):
		return usageError("there is no terminal to ask on: say --yes to copy the rows that are there")
	}
	return nil
}

func (r *adoptRun) start(ctx context.Context, table string) error {
	if err := r.check(); err != nil {
		return err
	}
	m, layoutOrder, err := adopt.ParseMap(r.fields)
	if err != nil {
		return usageError("--map: " + strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	conn, err := openAdopter(ctx, r.g, "adopt", &r.cfg, &r.adopter)
	if err != nil {
		return err
	}
	defer closePostgres(conn)
	schema := r.cfg.Outbox.Schema
	source, err := adopt.Inspect(ctx, conn, schema, table)
	if err != nil {
		return err
	}
	if r.order == "" {
		r.order = layoutOrder
	}
	if r.plan, err = adopt.NewPlan(schema, source, m, r.order); err != nil {
		return fmt.Errorf("--map does not fit %s (FIELD= leaves a field out):\n  %s", source.Name, strings.ReplaceAll(err.Error(), "\n", "\n  "))
	}
	r.plan.Publication = r.publication
	if r.print {
		_, err := fmt.Fprint(r.g.stdout, r.plan.SQL())
		return err
	}
	old, err := adopt.Find(ctx, conn, schema, source.Name)
	if err != nil {
		return explainMissing(err, schema)
	}
	result := adoptResult{Table: source.Name, Map: r.plan.Map, OrderBy: r.plan.OrderBy, Repaired: []string{}}
	if old == nil {
		err = r.begin(ctx, &result)
	} else {
		err = r.again(ctx, old, &result)
	}
	if err != nil {
		return err
	}
	return r.report(result)
}

// openAdopter connects. Whoever calls it closes conn.
func openAdopter(ctx context.Context, g *globals, command string, cfg **config.Config, adopter **adopt.Adopter) (conn *pgx.Conn, err error) {
	if *cfg, err = g.loadConfig(); err != nil {
		return nil, err
	}
	if conn, err = connectPostgres(ctx, *cfg, command); err != nil {
		return nil, err
	}
	if *adopter, err = adopt.Open(ctx, conn); err != nil {
		closePostgres(conn)
		return nil, err
	}
	(*adopter).Note = g.operationNote(command, runName())
	(*adopter).Waits = func(holder string) {
		fmt.Fprintf(g.stderr, "waiting for the table: %s\n", holder)
	}
	return conn, nil
}

// begin adopts a table that is not adopted.
func (r *adoptRun) begin(ctx context.Context, result *adoptResult) error {
	result.Action = "adopted"
	if !r.backfill {
		return r.adopter.Install(ctx, r.plan)
	}
	if err := r.plan.CanBackfill(); err != nil {
		return fmt.Errorf("the rows of %s cannot be copied:\n  %s", result.Table, strings.ReplaceAll(err.Error(), "\n", "\n  "))
	}
	if err := r.looking(ctx); err != nil {
		return err
	}
	rows, err := r.plan.Check(ctx, r.adopter.Conn)
	if err != nil {
		return err
	}
	if !r.yes {
		fmt.Fprintf(r.g.stderr, "%s of %s will become events, in the order of %s\n", count(int(rows), "row"), result.Table, r.plan.OrderBy)
		if err := confirm(ctx, r.g, "Copy them?"); err != nil {
			return err
		}
	}
	if err := r.adopter.Begin(ctx, r.plan); err != nil {
		return err
	}
	old, err := adopt.Find(ctx, r.adopter.Conn, r.plan.Schema, result.Table)
	if err != nil {
		return err
	}
	if old == nil {
		return fmt.Errorf("relay unadopt has ended the adoption of %s meanwhile", result.Table)
	}
	return r.carryOn(ctx, old, rows, result)
}

// again is about a table that is adopted.
func (r *adoptRun) again(ctx context.Context, old *adopt.Adoption, result *adoptResult) error {
	differences, function, err := old.Differences(ctx, r.adopter.Conn, r.plan)
	if err != nil {
		return err
	}
	if function != "" && !old.Unfinished() {
		differences = append(differences, function)
	}
	leaves := false
	if r.publication != "" {
		if leaves, err = r.adopter.InPublication(ctx, r.plan, r.publication); err != nil {
			return err
		}
	}
	result.Action, result.Backfilled = "unchanged", old.Backfilled
	switch {
	case len(differences) > 0 && old.Unfinished():
		return fmt.Errorf("%s is being adopted with another map:\n  %s\nfinish its backfill first, or end it with relay unadopt --abandon", old.Table,
			strings.Join(differences, "\n  "))
	case len(differences) > 0 && !r.replace:
		return fmt.Errorf("%s is adopted with another map; --replace makes this one hold from now on:\n  %s", old.Table,
			strings.Join(differences, "\n  "))
	case r.backfill && old.Backfilled == nil:
		return fmt.Errorf("%s was adopted at %s without --backfill, and which rows are older cannot be told any more: relay unadopt %s first, and mind that rows that came since become events again",
			old.Table, old.At.UTC().Format("2006-01-02T15:04:05Z"), old.Table)
	case old.Unfinished() && !r.backfill:
		return fmt.Errorf("the backfill of %s is not over, and events of new rows wait for it: --backfill goes on", old.Table)
	case leaves:
		return fmt.Errorf("%s is adopted, so it cannot leave a publication in the same transaction: relay unadopt %s first", old.Table, old.Table)
	case len(differences) > 0:
		result.Action = "replaced"
		return r.adopter.Replace(ctx, r.plan, old)
	}
	if function != "" {
		if err := r.adopter.Refresh(ctx, r.plan, old); err != nil {
			return err
		}
	}
	repaired, err := r.adopter.Repair(ctx, r.plan, old)
	if err != nil {
		return err
	}
	if len(repaired) > 0 {
		result.Action, result.Repaired = "repaired", repaired
	}
	if old.Unfinished() {
		result.Action = "resumed"
		rows, _, err := r.plan.Source.Size(ctx, r.adopter.Conn)
		if err != nil {
			return err
		}
		return r.carryOn(ctx, old, rows, result)
	}
	return nil
}

// carryOn brings a backfill to its end. rows is about how many there are, 0 when that is not known.
func (r *adoptRun) carryOn(ctx context.Context, old *adopt.Adoption, rows int64, result *adoptResult) error {
	progress := adoptProgress{g: r.g, table: result.Table, rows: rows, quiet: r.asJSON, begun: time.Now(), first: *old.Backfilled}
	done, err := r.adopter.Backfill(ctx, r.plan, old.No, progress.tell)
	if err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		return fmt.Errorf("%w after %s; events of new rows wait: the same command goes on", err, count(int(done.Rows), "row"))
	}
	result.Backfilled, result.Waited = &done.Rows, done.Waiting
	return nil
}

func (r *adoptRun) report(result adoptResult) error {
	if r.asJSON {
		return printJSON(r.g.stdout, result)
	}
	w, s := r.g.stdout, r.g.styleFor(r.g.stdout)
	switch result.Action {
	case "unchanged":
		_, err := fmt.Fprintf(w, "nothing to do: %s is adopted with this map\n", result.Table)
		return err
	case "repaired":
		_, err := fmt.Fprintf(w, "%s  triggers of %s; rows that came without them gave no events\n", s.good("repaired"), strings.Join(result.Repaired, ", "))
		return err
	}
	fmt.Fprintf(w, "%s  %s: each row that is inserted becomes an event\n", s.good(result.Action), result.Table)
	for _, field := range slices.Sorted(maps.Keys(result.Map)) {
		fmt.Fprintf(w, "  %-14s %s\n", field, result.Map[field])
	}
	if result.OrderBy != "" {
		fmt.Fprintf(w, "  %-14s %s\n", "in order of", result.OrderBy)
	}
	if result.Backfilled != nil && result.Action != "replaced" {
		fmt.Fprintf(w, "%s that were there before are copied\n", count(int(*result.Backfilled), "row"))
	}
	if result.Waited > 0 {
		fmt.Fprintf(w, "%s of newer rows waited for them and come next\n", count(int(result.Waited), "event"))
	}
	return nil
}
