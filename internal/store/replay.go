package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Replay is a request to publish delivered events again, and how far it has come.
type Replay struct {
	No      int64      `json:"replay"`
	State   string     `json:"state"` // running, stopped, done
	Topic   *string    `json:"topic"`
	Key     *string    `json:"key"`
	Since   *time.Time `json:"since"`
	Until   *time.Time `json:"until"`
	Slot    *int16     `json:"slot"` // of a repair
	ToTopic *string    `json:"to_topic"`
	Rate    int        `json:"rate"`    // events a second, 0 for no bound
	Events  int64      `json:"events"`  // counted when it was asked for
	Queued  int64      `json:"queued"`  // handed to the parked runner so far
	Waiting int64      `json:"waiting"` // of those, not published yet
	// SetAside is how many of those cannot go, and are held or dead now, or behind one that is.
	SetAside int64 `json:"set_aside"`

	At      time.Time `json:"at"`  // asked for
	Who     string    `json:"who"` // the database role
	Touched time.Time `json:"touched_at"`

	afterSeq int64
}

// Replayer asks for replays and carries them out: it copies events into parked, in the order of seq, a batch at a time,
// and the leader's parked runner publishes them. Not safe for concurrent use.
type Replayer struct {
	conn  *pgx.Conn
	names Names
	name  string
}

// NewReplayer works for relay name on a connection whose owner closes it.
func NewReplayer(c *pgx.Conn, names Names, name string) *Replayer {
	return &Replayer{conn: c, names: names, name: name}
}

// ErrNoCursor says that no relay of this name has ever led: nothing was delivered.
var ErrNoCursor = errors.New("no relay of this name has ever led: nothing was delivered")

// Count fills in how many events the request is about: delivered ones of its topic, key and time that are still there
// and not parked. A copy that an earlier replay made and that could not go is no reason to leave its event out. It reads
// the whole ring. The answer is what Ask will store.
func (r *Replayer) Count(ctx context.Context, want *Replay) (counted *Counted, err error) {
	counted = &Counted{}
	err = r.conn.QueryRow(ctx, fmt.Sprintf(`
		select r.window_from::text, r.window_to::text, r.after_seq, c.events, c.first, c.last
		  from %[1]s r cross join lateral (
			select count(*) as events, coalesce(min(e.seq), 0) as first, coalesce(max(e.seq), 0) as last from %[2]s e
			 where `+coveredBy+` and e.topic = $2 and ($3::text is null or e.key = $3) and e.created_at >= $4 and e.created_at < $5
			   and not exists (select from %[3]s p where p.name = r.name and p.seq = e.seq and p.state <> 'replay' and p.replay_no is null)) c
		 where r.name = $1`, r.names.table("relays"), r.names.table("events"), r.names.table("parked")),
		r.name, want.Topic, want.Key, want.Since, want.Until).
		Scan(&counted.from, &counted.to, &counted.after, &counted.Events, &counted.first, &counted.last)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNoCursor
	}
	if err != nil {
		return nil, fmt.Errorf("count the events: %w", err)
	}
	return counted, nil
}

// Counted is what Count found, and the cursor that it counted under.
type Counted struct {
	Events      int64
	from        string
	to          *string
	after       int64
	first, last int64
}

// Ask stores a counted request, with a line in operations, and gives its number.
func (r *Replayer) Ask(ctx context.Context, want *Replay, counted *Counted, note map[string]string) (no int64, err error) {
	err = pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, fmt.Sprintf(`insert into %s (name, topic, key, since, until, to_topic, rate, window_from, window_to, cursor_seq,
			after_seq, to_seq, events) values ($1, $2, $3, $4, $5, $6, $7, $8::text::pg_snapshot, $9::text::pg_snapshot, $10, $11, $12, $13)
			returning replay_no`, r.names.table("replays")),
			r.name, want.Topic, want.Key, want.Since, want.Until, want.ToTopic, want.Rate, counted.from, counted.to, counted.after,
			counted.first-1, counted.last, counted.Events).Scan(&no)
		if err != nil {
			return err
		}
		if err := LockOperations(ctx, tx, r.names.table("operations")); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, fmt.Sprintf(`insert into %s (verb, events, detail) values ('replay', $1, $2::jsonb || jsonb_build_object(
			'relay', $3::text, 'replay', $4::bigint, 'topic', $5::text, 'key', $6::text, 'since', $7::timestamptz, 'until', $8::timestamptz,
			'to_topic', $9::text))`, r.names.table("operations")),
			counted.Events, note, r.name, no, want.Topic, want.Key, want.Since, want.Until, want.ToTopic)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("ask for the replay: %w", grantCure(err))
	}
	return no, nil
}

// stepSQL copies the next batch and notes how far the replay is, together or not at all. The row lock on the request,
// and after_seq in its condition, let only one of two who carry on with it do a step. What is parked and is no replay's
// copy is found by the index parked_once, so its condition has to be said too.
const stepSQL = `
	with mine as materialized (
		select * from %[1]s where replay_no = $1 and name = $2 and state = 'running' and after_seq = $3 for update),
	batch as materialized (
		select e.*, r.to_topic from mine r, lateral (
			select e.seq, e.id, e.topic, e.key, e.type, e.payload, e.payload_bytes, e.headers, e.partition, e.deliver_at, e.created_at
			  from %[2]s e
			 where e.seq > $3 and e.seq <= r.to_seq
			   and (pg_visible_in_snapshot(e.xid, r.window_from)
			        or e.seq <= r.cursor_seq and coalesce(pg_visible_in_snapshot(e.xid, r.window_to), false))
			   and (r.topic is null or e.topic = r.topic) and (r.key is null or e.key = r.key)
			   and (r.since is null or e.created_at >= r.since) and (r.until is null or e.created_at < r.until)
			   and (r.slot is null or e.slot = r.slot) and (r.seqs is null or e.seq = any(r.seqs))
			   and not exists (select from %[3]s p where p.name = r.name and p.seq = e.seq and p.state <> 'replay' and p.replay_no is null)
			 order by e.seq limit $4) e),
	parked as (
		insert into %[3]s (name, seq, state, reason, replay_no, id, topic, key, type, payload, payload_bytes, headers, partition, deliver_at, created_at)
		select $2, b.seq, 'replay', 'replay ' || $1, $1, b.id, coalesce(b.to_topic, b.topic), b.key, b.type, b.payload, b.payload_bytes, b.headers,
		       case when b.to_topic is null then b.partition end, b.deliver_at, b.created_at
		  from batch b),
	counted as (select count(*) as n, max(seq) as last from batch),
	noted as (
		update %[1]s r set after_seq = case when c.n < $4 then r.to_seq else c.last end, queued = r.queued + c.n, touched_at = now(),
		       state = case when c.n < $4 then 'done' else r.state end
		  from counted c, mine m where r.replay_no = m.replay_no
		returning c.n, r.after_seq, r.state)
	select n, after_seq, state from noted`

// Step hands the next events of a replay to the parked runner, at most limit, and updates p. Errors: ErrReplayTaken.
func (r *Replayer) Step(ctx context.Context, p *Replay, limit int) (n int64, err error) {
	err = r.conn.QueryRow(ctx, fmt.Sprintf(stepSQL, r.names.table("replays"), r.names.table("events"), r.names.table("parked")),
		p.No, r.name, p.afterSeq, limit).Scan(&n, &p.afterSeq, &p.State)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrReplayTaken
	}
	if err != nil {
		return 0, fmt.Errorf("carry on with replay %d: %w", p.No, grantCure(err))
	}
	p.Queued += n
	return n, nil
}

// ErrReplayTaken says that the replay was stopped, or that another command carries on with it.
var ErrReplayTaken = errors.New("the replay was stopped, or another command carries on with it: relay replay list shows it")

// List gives the newest replays of the outbox first, or the one with this number.
func (r *Replayer) List(ctx context.Context, no *int64, limit int) ([]Replay, error) {
	rows, _ := r.conn.Query(ctx, fmt.Sprintf(`
		select r.replay_no, r.state, r.topic, r.key, r.since, r.until, r.slot, r.to_topic, r.rate, r.events, r.queued,
		       p.waiting, p.set_aside, r.at, r.who, r.touched_at, r.after_seq
		  from %[1]s r, lateral (
			select count(*) filter (where state = 'replay') as waiting, count(*) filter (where state <> 'replay') as set_aside
			  from %[2]s where replay_no = r.replay_no) p
		 where r.name = $1 and ($2::bigint is null or r.replay_no = $2) order by r.replay_no desc limit $3`,
		r.names.table("replays"), r.names.table("parked")), r.name, no, limit)
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Replay, err error) {
		err = row.Scan(&p.No, &p.State, &p.Topic, &p.Key, &p.Since, &p.Until, &p.Slot, &p.ToTopic, &p.Rate, &p.Events, &p.Queued,
			&p.Waiting, &p.SetAside, &p.At, &p.Who, &p.Touched, &p.afterSeq)
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("list replays: %w", grantCure(err))
	}
	return all, nil
}

// Left is how many events of a replay are handed over and not published yet, and how many of them cannot go: those are
// held or dead, or behind one that is. Both together are counted up to most.
func (r *Replayer) Left(ctx context.Context, no int64, most int) (waiting, setAside int, err error) {
	err = r.conn.QueryRow(ctx, fmt.Sprintf(`
		select count(*) filter (where state = 'replay'), count(*) filter (where state <> 'replay')
		  from (select state from %s where replay_no = $1 limit $2) p`,
		r.names.table("parked")), no, most).Scan(&waiting, &setAside)
	if err != nil {
		return 0, 0, fmt.Errorf("look how far replay %d is: %w", no, err)
	}
	return waiting, setAside, nil
}

// SetState stops a running replay, or lets a stopped one go on. false: there is none in the state that it takes.
func (r *Replayer) SetState(ctx context.Context, no int64, from, to string) (bool, error) {
	tag, err := r.conn.Exec(ctx, fmt.Sprintf(`update %s set state = $4, touched_at = now() where replay_no = $1 and name = $2 and state = $3`,
		r.names.table("replays")), no, r.name, from, to)
	if err != nil {
		return false, fmt.Errorf("change replay %d: %w", no, grantCure(err))
	}
	return tag.RowsAffected() == 1, nil
}
