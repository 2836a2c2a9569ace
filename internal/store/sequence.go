package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/mutant"
)

// sequenceSQL reads how far the events sequence is, and then whether it counts as anchors need it.
//
// The function locks the sequence's page. A select of last_value does not: while nextval writes its log record, every
// 32nd time, it sees the value of 32 numbers further on, and an anchor with that loses the rows in between.
const sequenceSQL = `
	select coalesce(pg_sequence_last_value(%[1]s::regclass), 0),
	       (select cache_size = 1 and increment > 0 and not cycle_option from pg_sequence_parameters(%[1]s::regclass))`

// sequence is the events sequence as one connection has seen it. Anchors rest on three things: numbers are drawn one by
// one, each is higher than those before it, and what was read was reached.
type sequence struct {
	names Names
	sql   string
	// high is what the sequence had reached when it was last read here.
	high int64
}

func newSequence(names Names) *sequence {
	if mutant.On("sequence-unlocked") {
		return &sequence{names: names, sql: `select last_value, true from ` + names.table("events_seq")}
	}
	return &sequence{names: names, sql: fmt.Sprintf(sequenceSQL, quoted(names.table("events_seq")))}
}

// before reads how far the sequence is and then runs a statement that gives one row, both in one round trip: the
// statement gets its xid after that, which makes (xid, seq) an anchor. No row is pgx.ErrNoRows.
func (s *sequence) before(ctx context.Context, c *pgx.Conn, sql string, args []any, row ...any) (seq int64, err error) {
	batch := &pgx.Batch{}
	batch.Queue(s.sql)
	batch.Queue(sql, args...)
	results := c.SendBatch(ctx, batch)
	var counts bool
	err = results.QueryRow().Scan(&seq, &counts)
	if err == nil {
		err = results.QueryRow().Scan(row...)
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	if err == nil && mutant.On("anchor-after-xid") {
		err = c.QueryRow(ctx, s.sql).Scan(&seq, &counts)
	}
	if err == nil {
		err = s.judge(seq, counts)
	}
	return seq, err
}

// check reads the sequence alone, and uses up no xid.
func (s *sequence) check(ctx context.Context, c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var seq int64
	var counts bool
	if err := c.QueryRow(ctx, s.sql).Scan(&seq, &counts); err != nil {
		return fmt.Errorf("read the sequence: %w", err)
	}
	return s.judge(seq, counts)
}

// judge says what is wrong with a sequence that was read.
func (s *sequence) judge(seq int64, counts bool) error {
	if !counts && !mutant.On("sequence-cached") {
		return s.miscounts()
	}
	return s.reached(seq)
}

// CheckSequence says what is wrong with events_seq: it does not count as anchors need it, or stands below a number that
// is in the table or in a cursor. For the table alone no session stops: somebody may have slipped a row in.
func CheckSequence(ctx context.Context, c *pgx.Conn, names Names) error {
	s := newSequence(names)
	var cursors int64
	err := c.QueryRow(ctx, fmt.Sprintf(`select coalesce(max(greatest(floor_seq, anchor_seq)), 0) from %s`, names.table("relays"))).
		Scan(&cursors)
	if err == nil {
		err = s.countTable(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("ask how far the numbers of events are: %w", err)
	}
	s.high = max(s.high, cursors)
	return s.check(ctx, c)
}

// countTable takes the highest number in the table for reached. Needs the btree on seq in each ring partition.
func (s *sequence) countTable(ctx context.Context, c *pgx.Conn) error {
	return c.QueryRow(ctx, `select coalesce(max(seq), 0) from `+s.names.table("events")).Scan(&s.high)
}

// reached compares what was read with what is known to have been reached before.
func (s *sequence) reached(seq int64) error {
	if seq < s.high && !mutant.On("sequence-back") {
		return s.wentBack(seq)
	}
	s.high = seq
	return nil
}

// miscounts: with a cache a connection draws numbers in advance, and uses them after others have gone on.
func (s *sequence) miscounts() error {
	return fmt.Errorf("sequence %[1]s does not count one by one upwards, so events would be passed over: "+
		"alter sequence %[1]s increment 1 cache 1 no cycle; connections of applications keep what they have drawn in advance: "+
		"close those, then run relay audit --repair", s.names.table("events_seq"))
}

func (s *sequence) wentBack(seq int64) error {
	return fmt.Errorf("sequence %[1]s stands at %[2]d and was at %[3]d: somebody has set it back, and events with "+
		"numbers that are given out twice would be passed over: "+
		"select setval(%[4]s, (select greatest(%[3]d, max(seq)) from %[5]s)); then run relay audit --repair",
		s.names.table("events_seq"), seq, s.high, quoted(s.names.table("events_seq")), s.names.table("events"))
}
