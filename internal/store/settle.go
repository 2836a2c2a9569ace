package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/mutant"
)

// ErrFenced says that the cursor row carries another epoch: somebody else leads.
var ErrFenced = errors.New("fenced: another replica has taken the lease")

// Parked is an event that cannot go now: which, why, and since when it may be tried.
type Parked struct {
	Slot   int16
	Seq    int64
	State  string // scheduled, held, dead, behind
	Reason string
	Due    time.Time // zero: now, or later, so that it stands behind what was parked before it
}

// Settlement is one move of the cursor: everything behind it is acked by Kafka or in Parked.
type Settlement struct {
	Cursor Cursor
	Books  Books
	Parked []Parked
	// Floor and Newest are what a restart may begin with.
	Floor  int64
	Newest Anchor
}

// settleSQL moves the cursor, enters the books and parks what cannot go, or does nothing at all when the epoch is not
// ours any more. All updates of relays and slots are HOT: no indexed column changes. Rows are found by slot and seq
// through the ring's indexes. $24 is when something was parked last: the server's clock may have been set back since.
const settleSQL = `
	with mine as (
		update %[1]s set window_from = $3::pg_snapshot, window_to = $4::pg_snapshot, after_seq = $5, floor_seq = $6,
		       anchor_xid = $7::xid8, anchor_seq = $8, delivered = delivered + $9, settled_at = clock_timestamp(),
		       batch = coalesce($19, batch), candidate = $20::jsonb
		 where name = $1 and (epoch = $2 and session = $21 %[5]s)
		returning name),
	booked as (
		insert into %[2]s as s (name, slot, settled_rows, settled_sum, last_seq, version_rows, version_sum)
		select mine.name, b.* from mine, unnest($10::int2[], $11::int8[], $12::text[]::numeric[], $13::int8[], $22::int8[],
		       $23::text[]::numeric[]) b
		on conflict (name, slot) do update set settled_rows = s.settled_rows + excluded.settled_rows,
		       settled_sum = s.settled_sum + excluded.settled_sum, last_seq = greatest(s.last_seq, excluded.last_seq),
		       version_rows = s.version_rows + excluded.version_rows, version_sum = s.version_sum + excluded.version_sum),
	parked as (
		insert into %[3]s (name, seq, state, reason, due_at, id, topic, key, type, payload, payload_bytes, headers,
		       partition, deliver_at, created_at)
		select mine.name, e.seq, p.state, p.reason, coalesce(p.due, greatest(now(), $24)), e.id, e.topic, e.key, e.type, e.payload,
		       e.payload_bytes, e.headers, e.partition, e.deliver_at, e.created_at
		  from mine, unnest($14::int2[], $15::int8[], $16::text[], $17::text[], $18::timestamptz[]) p(slot, seq, state, reason, due)
		  join %[4]s e on e.slot = p.slot and e.seq = p.seq
		on conflict (name, seq) where state <> 'replay' do nothing)
	select pg_current_xact_id()::text, now() from mine`

// parkedLastSQL asks for the newest place in the order of release that is a time: somebody may have put infinity there.
// Needs parked_due.
const parkedLastSQL = `select greatest(
	(select due_at from %[1]s where name = $1 and state = 'held' and due_at < 'infinity' order by due_at desc limit 1),
	(select due_at from %[1]s where name = $1 and state = 'behind' and due_at < 'infinity' order by due_at desc limit 1),
	(select due_at from %[1]s where name = $1 and state = 'dead' and due_at < 'infinity' order by due_at desc limit 1), now())`

// prepareSQL enters a candidate and leaves the cursor where it is.
const prepareSQL = `update %[1]s set batch = $3, candidate = $4::jsonb where name = $1 and epoch = $2 and session = $5 returning name`

// Settler writes the cursor over a connection of its own, fenced by one session. Not safe for concurrent use.
type Settler struct {
	conn         *pgx.Conn
	sequence     *sequence
	sql, prepare string
	name         string
	fence        Fence
	parked       string    // the table
	parkedLast   time.Time // no place in the order of release is behind it; zero before the session parks something
}

// NewSettler settles for relay name, once Begin has said in which session. The settler owns c from now on.
func NewSettler(c *pgx.Conn, names Names, name string) *Settler {
	unfenced := ""
	if mutant.On("settle-without-epoch") {
		unfenced = "or true"
	}
	return &Settler{conn: c, name: name, parked: names.table("parked"),
		sequence: newSequence(names), prepare: fmt.Sprintf(prepareSQL, names.table("relays")),
		sql: fmt.Sprintf(settleSQL, names.table("relays"), names.table("slots"), names.table("parked"),
			names.table("events"), unfenced)}
}

// Begin names the session. Before it, every statement is fenced.
func (s *Settler) Begin(f Fence) { s.fence = f }

// Settle makes m durable in one statement and returns the anchor that its transaction gives. A candidate that was
// prepared is gone afterwards. ErrFenced says that nothing was written because the epoch is not ours. Any other error
// leaves the outcome unknown: end the session.
func (s *Settler) Settle(ctx context.Context, m *Settlement) (Anchor, error) {
	return s.settle(ctx, m, nil)
}

// Prepare makes a candidate durable, and settles in the same statement what came before it; settled is nil when there
// is nothing to settle, and then there is no anchor (the zero Anchor). Errors are Settle's.
func (s *Settler) Prepare(ctx context.Context, settled *Settlement, c *Candidate) (Anchor, error) {
	if settled != nil {
		return s.settle(ctx, settled, c)
	}
	text, err := c.encode()
	if err != nil {
		return Anchor{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var name string
	err = s.conn.QueryRow(ctx, s.prepare, s.name, s.fence.Epoch, c.Batch, string(text), s.fence.Session).Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		return Anchor{}, ErrFenced
	}
	if err != nil {
		return Anchor{}, fmt.Errorf("prepare batch %d: %w", c.Batch, err)
	}
	return Anchor{}, nil
}

func (s *Settler) settle(ctx context.Context, m *Settlement, next *Candidate) (Anchor, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if len(m.Parked) > 0 && mutant.On("park-outside") {
		cursorFirst := *m
		cursorFirst.Parked = nil
		if _, err := s.settle(ctx, &cursorFirst, next); err != nil {
			return Anchor{}, err
		}
		m = &Settlement{Cursor: m.Cursor, Parked: m.Parked, Floor: m.Floor, Newest: m.Newest}
	}
	var to *string
	if m.Cursor.Open {
		text := m.Cursor.To.String()
		to = &text
	}
	books := m.Books.columns()
	parked := parkedArraysOf(m.Parked)
	delivered := m.Books.Rows() - int64(len(m.Parked))

	if len(m.Parked) > 0 && s.parkedLast.IsZero() {
		if err := s.conn.QueryRow(ctx, fmt.Sprintf(parkedLastSQL, s.parked), s.name).Scan(&s.parkedLast); err != nil {
			return Anchor{}, fmt.Errorf("ask when an event was parked last: %w", err)
		}
	}
	var number *int64
	var candidate *string
	if next != nil {
		encoded, err := next.encode()
		if err != nil {
			return Anchor{}, err
		}
		text := string(encoded)
		number, candidate = &next.Batch, &text
	}
	var xid string
	var now time.Time
	seq, err := s.sequence.before(ctx, s.conn, s.sql, []any{s.name, s.fence.Epoch, m.Cursor.From.String(), to, m.Cursor.After, m.Floor,
		fmt.Sprint(m.Newest.XID), m.Newest.Seq, delivered, books.slots, books.rows, books.sums, books.lasts,
		parked.slots, parked.seqs, parked.states, parked.reasons, parked.due, number, candidate, s.fence.Session,
		books.versioned, books.versions, s.parkedLast}, &xid, &now)
	if errors.Is(err, pgx.ErrNoRows) {
		return Anchor{}, ErrFenced
	}
	if err != nil {
		return Anchor{}, fmt.Errorf("settle: %w", err)
	}
	if now.After(s.parkedLast) && !s.parkedLast.IsZero() {
		s.parkedLast = now
	}
	anchor := Anchor{Seq: seq}
	if anchor.XID, err = parseXID(xid); err != nil {
		return Anchor{}, fmt.Errorf("settle: %w", err)
	}
	if mutant.On("anchor-from-xmax") {
		anchor.XID = m.Cursor.From.Xmax - 1
	}
	return anchor, nil
}

type parkedArrays struct {
	slots           []int16
	seqs            []int64
	states, reasons []string
	due             []*time.Time
}

func parkedArraysOf(rows []Parked) parkedArrays {
	var a parkedArrays
	for i := range rows {
		p := &rows[i]
		a.slots = append(a.slots, p.Slot)
		a.seqs = append(a.seqs, p.Seq)
		a.states = append(a.states, p.State)
		a.reasons = append(a.reasons, p.Reason)
		if p.Due.IsZero() {
			a.due = append(a.due, nil)
			continue
		}
		a.due = append(a.due, &p.Due)
	}
	return a
}

// Conn is the settler's connection, for statements between settles.
func (s *Settler) Conn() *pgx.Conn { return s.conn }

// Close ends the connection.
func (s *Settler) Close() { closeSoon(s.conn) }
