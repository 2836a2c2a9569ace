package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/spf13/cobra"
)

// parkedEvent is one parked event in JSON: without headers and payload in a list.
type parkedEvent struct {
	ID         string             `json:"id"`
	Seq        int64              `json:"seq"`
	State      string             `json:"state"`
	Reason     string             `json:"reason"`
	Topic      string             `json:"topic"`
	Key        *string            `json:"key"`
	Type       *string            `json:"type"`
	Partition  *int32             `json:"partition"`
	Attempts   int                `json:"attempts"`
	DueAt      pgtype.Timestamptz `json:"due_at"`
	ParkedAt   pgtype.Timestamptz `json:"parked_at"`
	CreatedAt  pgtype.Timestamptz `json:"created_at"`
	DeliverAt  pgtype.Timestamptz `json:"deliver_at"`
	LetteredAt pgtype.Timestamptz `json:"lettered_at"`
}

const parkedColumns = `id::text, seq, state, reason, topic, key, type, partition, attempts, due_at, parked_at, created_at, deliver_at, lettered_at`

// targets are where a row of parkedColumns is scanned to.
func (e *parkedEvent) targets() []any {
	return []any{&e.ID, &e.Seq, &e.State, &e.Reason, &e.Topic, &e.Key, &e.Type, &e.Partition, &e.Attempts,
		&e.DueAt, &e.ParkedAt, &e.CreatedAt, &e.DeliverAt, &e.LetteredAt}
}

// utc makes the times read the same wherever the command runs.
func (e *parkedEvent) utc() {
	for _, at := range []*pgtype.Timestamptz{&e.DueAt, &e.ParkedAt, &e.CreatedAt, &e.DeliverAt, &e.LetteredAt} {
		at.Time = at.Time.UTC()
	}
}

// localTime writes a time for people. PostgreSQL has times that are no moment.
func localTime(at pgtype.Timestamptz) string {
	switch {
	case !at.Valid:
		return "-"
	case at.InfinityModifier != pgtype.Finite:
		return at.InfinityModifier.String()
	}
	return at.Time.Local().Format(time.DateTime)
}

func newParkedListCommand(g *globals) *cobra.Command {
	var filter parkedFlags
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List parked events in the order of their release",
		Long: `Lists events that cannot go now, in the order in which they are released: by due time, then by seq. Of a scheduled
event due is its time; of the others it is when they stood aside. Payloads are shown by relay parked show.

--json prints one document: outbox, matched (how many there are), shown, and events.`,
		Example: "  relay parked list --state dead\n  relay parked list --topic orders --reason too_large --limit 0 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			selection, err := filter.selection(cmd)
			if err != nil {
				return err
			}
			if limit < 0 {
				return usageError("--limit is negative; 0 is no limit")
			}
			p, err := g.openParked(ctx, "list")
			if err != nil {
				return err
			}
			defer closePostgres(p.conn)
			var out parkedWriter = &parkedPage{g: g}
			if asJSON {
				out = &parkedDocument{out: bufio.NewWriter(g.stdout)}
			}
			return p.explain(p.list(ctx, selection, limit, out))
		},
	}
	filter.add(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, "show at most `N` events; 0 is no limit")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// parkedWriter takes a list as it is read.
type parkedWriter interface {
	begin(outbox string, matched, shown int64) error
	event(e *parkedEvent) error
	end() error
}

// list reads the count and the events in one snapshot, so that they belong together, and holds one event at a time.
func (p *parkedTable) list(ctx context.Context, s parkedSelection, limit int, out parkedWriter) error {
	tx, err := p.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	condition, args := s.where(p.name)
	var matched int64
	if err := tx.QueryRow(ctx, "select count(*) from parked where "+condition, args...).Scan(&matched); err != nil {
		return fmt.Errorf("count parked events: %w", err)
	}
	shown, most := matched, pgtype.Int8{}
	if limit > 0 {
		shown, most = min(matched, int64(limit)), pgtype.Int8{Int64: int64(limit), Valid: true}
	}
	if err := out.begin(p.name, matched, shown); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, fmt.Sprintf("select %s from parked where %s order by due_at, seq limit $%d",
		parkedColumns, condition, len(args)+1), append(args, most)...)
	if err != nil {
		return fmt.Errorf("list parked events: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var e parkedEvent
		if err := rows.Scan(e.targets()...); err != nil {
			return fmt.Errorf("list parked events: %w", err)
		}
		e.utc()
		if err := out.event(&e); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list parked events: %w", err)
	}
	return out.end()
}

// parkedPage is the list for people.
type parkedPage struct {
	g              *globals
	table          *table
	matched, shown int64
}

func (l *parkedPage) begin(outbox string, matched, shown int64) error {
	l.matched, l.shown = matched, shown
	if matched == 0 {
		_, err := fmt.Fprintf(l.g.stdout, "nothing is parked in outbox %s that matches\n", outbox)
		return err
	}
	s := l.g.styleFor(l.g.stdout)
	l.table = newTable(l.g.stdout, func(column int, cell string) string {
		if column == 0 {
			return paintState(s, cell)
		}
		return cell
	}, "state", "due", "topic", "key", "id", "reason")
	return nil
}

func (l *parkedPage) event(e *parkedEvent) error {
	key := "null"
	if e.Key != nil {
		key = clip(readable([]byte(*e.Key), true), 32)
	}
	return l.table.row(e.State, localTime(e.DueAt), e.Topic, key, e.ID, readable([]byte(e.Reason), false))
}

func (l *parkedPage) end() error {
	if l.matched == 0 {
		return nil
	}
	if err := l.table.end(); err != nil {
		return err
	}
	text := count(int(l.matched), "event")
	if l.shown < l.matched {
		text = fmt.Sprintf("showing %s of %s; --limit 0 shows all", grouped(l.shown), text)
	}
	_, err := fmt.Fprintf(l.g.stdout, "\n%s\n", text)
	return err
}

// paintState colours what needs a person.
func paintState(s style, state string) string {
	switch state {
	case "dead", "held":
		return s.bad(state)
	case "behind":
		return s.warn(state)
	}
	return state
}

// parkedDocument is the list as one JSON document, written as it is read.
type parkedDocument struct {
	out   *bufio.Writer
	comma string
}

func (l *parkedDocument) begin(outbox string, matched, shown int64) error {
	name, err := json.Marshal(outbox)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(l.out, "{\n  \"outbox\": %s,\n  \"matched\": %d,\n  \"shown\": %d,\n  \"events\": [", name, matched, shown)
	return err
}

func (l *parkedDocument) event(e *parkedEvent) error {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return err
	}
	_, err := fmt.Fprintf(l.out, "%s\n    %s", l.comma, bytes.TrimRight(line.Bytes(), "\n"))
	l.comma = ","
	return err
}

func (l *parkedDocument) end() error {
	if l.comma != "" {
		l.comma = "\n  "
	}
	if _, err := fmt.Fprintf(l.out, "%s]\n}\n", l.comma); err != nil {
		return err
	}
	return l.out.Flush()
}
