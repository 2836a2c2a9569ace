package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Yard is the table of parked events as the runner works on it, fenced by one session, over a connection of its own.
// Not safe for concurrent use.
type Yard struct {
	conn  *pgx.Conn
	raw   *pgconn.PgConn
	names Names
	name  string
	fence Fence
	row   ParkedRow
	// from is the due time from which on the last look found something; a look from the start may be from wholeAt on.
	from    string
	wholeAt time.Time
}

// NewYard works for relay name in one session. The yard owns c from now on.
func NewYard(ctx context.Context, c *pgx.Conn, names Names, name string, fence Fence) (*Yard, error) {
	y := &Yard{conn: c, raw: c.PgConn(), names: names, name: name, fence: fence, from: fromStart}
	for _, query := range [][3]string{{dueName, dueSQL, "due_at, seq"}, {orderName, orderSQL, "due_at, seq"}, {letterName, letterSQL, "parked_no"}} {
		picked := fmt.Sprintf(query[1], names.table("parked"))
		sql := fmt.Sprintf(takenSQL, names.table("parked"), picked) + query[2]
		if _, err := y.raw.Prepare(ctx, query[0], sql, nil); err != nil {
			return nil, fmt.Errorf("prepare the parked queries: %w", err)
		}
	}
	return y, nil
}

// Close ends the connection.
func (y *Yard) Close() { closeSoon(y.conn) }

const parkedColumns = `parked_no, state, due_at, attempts, reason, parked_at,
	seq, 0::int2, id, topic, key, type, payload, payload_bytes, headers, partition, deliver_at, created_at, xmin`

// takenSQL says of each row that a query picks whether an operator's open transaction has it: the rows that nobody has
// are locked for as long as the statement takes. An array, because no estimate then makes it read all of the table.
const takenSQL = `with picked as materialized (%[2]s),
	free as materialized (select parked_no from %[1]s where parked_no = any(array(select parked_no from picked)) for update skip locked)
	select ` + parkedColumns + `, free.parked_no is null from picked left join free using (parked_no) order by `

// dueSQL finds what has a time of its own. Needs parked_due.
//
// Not clock_timestamp(): it is volatile, so the index would be read to its end, a million rows for the few that are due.
const dueSQL = `select *, xmin from %[1]s
	where name = $1 and state = $2 and due_at >= $4 and due_at <= statement_timestamp() order by due_at, seq limit $3`

// orderSQL finds what may be released of a topic behind a place, in order; $6 true leaves out the keys that have a
// dead event before. Needs parked_in_order and parked_of_key.
const orderSQL = `select *, xmin from %[1]s p
	where name = $1 and topic = $2 and state in ('held', 'behind') and (due_at, seq) > ($3::timestamptz, $4)
	  and not ($6 and key is not null and exists (select from %[1]s d where d.name = $1 and d.topic = $2 and d.key = p.key
	           and d.state = 'dead' and (d.due_at, d.seq) < (p.due_at, p.seq)))
	order by due_at, seq limit $5`

// letterSQL finds dead events that have no copy in the dead-letter topic. Needs parked_to_letter.
const letterSQL = `select *, xmin from %[1]s
	where name = $1 and state = 'dead' and lettered_at is null order by parked_no limit $2`

const (
	dueName    = "relay_due"
	orderName  = "relay_order"
	letterName = "relay_letter"
)

// Place is where a row stands in the order of release.
type Place struct {
	Due time.Time
	Seq int64
}

// ParkedRow is a parked event. Its slices are valid only until the next row.
type ParkedRow struct {
	Row
	No       int64
	State    string
	Due      time.Time
	Attempts int32
	Reason   string
	ParkedAt time.Time
	// Taken says that somebody's open transaction has the row: it may be about to be dropped or edited.
	Taken bool
}

// Place of the row in the order of release.
func (p *ParkedRow) Place() Place { return Place{Due: p.Due, Seq: p.Seq} }

func (p *ParkedRow) decode(v [][]byte) error {
	const own = 6
	if len(v) != own+rowWidth+1 || len(v[0]) != 8 || len(v[2]) != 8 || len(v[3]) != 4 || len(v[own+rowWidth]) != 1 {
		return errors.New("a parked row is not in the binary form that was asked for")
	}
	p.No = int64(binary.BigEndian.Uint64(v[0]))
	p.State, p.Reason = string(v[1]), string(v[4])
	p.Due, p.ParkedAt = timestamp(v[2]), timestamp(v[5])
	p.Attempts = int32(binary.BigEndian.Uint32(v[3]))
	p.Taken = v[own+rowWidth][0] != 0
	return p.Row.decode(v[own : own+rowWidth])
}

// Due hands out the rows of a state whose time has come, by time, from those on that the last Look found.
func (y *Yard) Due(ctx context.Context, state string, limit int, row func(*ParkedRow) error) (int, error) {
	return y.each(ctx, dueName, row, y.name, state, strconv.Itoa(limit), y.from)
}

// InOrder hands out the rows of a topic that may be released behind a place. With holdKeys, none of a key that has a
// dead event before it.
func (y *Yard) InOrder(ctx context.Context, topic string, behind Place, limit int, holdKeys bool, row func(*ParkedRow) error) (int, error) {
	return y.each(ctx, orderName, row, y.name, topic, behind.Due.UTC().Format("2006-01-02 15:04:05.999999Z07:00"),
		strconv.FormatInt(behind.Seq, 10), strconv.Itoa(limit), strconv.FormatBool(holdKeys))
}

// Unlettered hands out dead events without a copy in the dead-letter topic.
func (y *Yard) Unlettered(ctx context.Context, limit int, row func(*ParkedRow) error) (int, error) {
	return y.each(ctx, letterName, row, y.name, strconv.Itoa(limit))
}

func (y *Yard) each(ctx context.Context, prepared string, row func(*ParkedRow) error, args ...string) (n int, err error) {
	params := make([][]byte, len(args))
	for i, a := range args {
		params[i] = []byte(a)
	}
	rr := y.raw.ExecPrepared(ctx, prepared, params, nil, []int16{1})
	for rr.NextRow() {
		if err == nil {
			err = y.row.decode(rr.Values())
		}
		if err != nil {
			continue // what was asked for is bounded: read it to its end
		}
		if err = row(&y.row); err == nil {
			n++
		}
	}
	if _, closeErr := rr.Close(); closeErr != nil {
		return n, fmt.Errorf("read parked events: %w", closeErr)
	}
	if errors.Is(err, ErrStop) {
		err = nil
	}
	return n, err
}

// Released deletes rows that Kafka has acked and books them as delivered. ErrFenced: nothing was done.
func (y *Yard) Released(ctx context.Context, nos []int64) error {
	return y.fenced(ctx, int64(len(nos)), `delete from %[1]s p using mine where p.name = mine.name and p.parked_no = any($5::int8[])`, nos)
}

// Change is a new state for a row.
type Change struct {
	No            int64
	State, Reason string
}

// Changed gives rows new states and counts the attempt. A replay whose event is parked already, be it by another replay,
// stays one and comes again in a minute: an event waits in one place only (parked_once). ErrFenced: nothing was done.
func (y *Yard) Changed(ctx context.Context, changes []Change) error {
	var nos []int64
	var states, reasons []string
	for _, c := range changes {
		nos, states, reasons = append(nos, c.No), append(states, c.State), append(reasons, c.Reason)
	}
	return y.fenced(ctx, 0, `update %[1]s p set state = case when c.again then p.state else c.state end, reason = c.reason,
		       attempts = attempts + 1, due_at = case when c.again then now() + interval '1 minute' else p.due_at end
		  from mine, (
			select c.*, p.state = 'replay' and c.state <> 'replay' and (row_number() over (partition by p.seq order by c.turn) > 1
			       or exists (select from %[1]s o where o.name = $1 and o.seq = p.seq and o.state <> 'replay')) as again
			  from unnest($5::int8[], $6::text[], $7::text[]) with ordinality c(no, state, reason, turn)
			  join %[1]s p on p.parked_no = c.no) c
		 where p.name = mine.name and p.parked_no = c.no`, nos, states, reasons)
}

// Lettered notes that dead events have a copy in the dead-letter topic.
func (y *Yard) Lettered(ctx context.Context, nos []int64) error {
	return y.fenced(ctx, 0, `update %[1]s p set lettered_at = now() from mine where p.name = mine.name and p.parked_no = any($5::int8[])`, nos)
}

// fenced runs a change together with the proof that the epoch is ours: the row lock on the cursor's row.
func (y *Yard) fenced(ctx context.Context, delivered int64, change string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	sql := fmt.Sprintf(`with mine as (update %[2]s set delivered = delivered + $4
		where name = $1 and epoch = $2 and session = $3 returning name),
		done as (`+change+`) select name from mine`, y.names.table("parked"), y.names.table("relays"))
	var name string
	err := y.conn.QueryRow(ctx, sql, append([]any{y.name, y.fence.Epoch, y.fence.Session, delivered}, args...)...).Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrFenced
	}
	if err != nil {
		return fmt.Errorf("change parked events: %w", err)
	}
	return nil
}

// Holders names the transactions that may have parked rows: those that are changing the table, five at most. They may be
// the relay's own, which end at once. A prepared transaction is named by its gid.
func (y *Yard) Holders(ctx context.Context) ([]string, error) {
	rows, _ := y.conn.Query(ctx, `
		select concat('pid ', a.pid, ', role ', a.usename, ', application ' || nullif(a.application_name, ''), ', from ' || host(a.client_addr))
		  from pg_locks l join pg_stat_activity a using (pid)
		 where l.relation = $1::text::regclass and l.database = a.datid and l.pid <> pg_backend_pid()
		   and l.mode in ('RowShareLock', 'RowExclusiveLock')
		 group by a.pid, a.usename, a.application_name, a.client_addr, a.backend_start
		 union all
		select 'prepared transaction ' || gid from pg_prepared_xacts where database = current_database()
		 limit 5`, y.names.table("parked"))
	holders, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("ask who has parked events: %w", err)
	}
	return holders, nil
}

// WaitingTopics are the topics with events held or behind. It walks the index from topic to topic: as many steps as
// there are topics, however many rows.
func (y *Yard) WaitingTopics(ctx context.Context) ([]string, error) {
	rows, _ := y.conn.Query(ctx, fmt.Sprintf(`
		with recursive t as (
			(select topic from %[1]s where name = $1 and state in ('held', 'behind') order by topic limit 1)
			union all
			select (select p.topic from %[1]s p where p.name = $1 and p.state in ('held', 'behind') and p.topic > t.topic order by p.topic limit 1)
			  from t where t.topic is not null)
		select topic from t where topic is not null`, y.names.table("parked")), y.name)
	topics, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list topics with parked events: %w", err)
	}
	return topics, nil
}

// TopicKey is a key of a topic.
type TopicKey struct{ Topic, Key string }

// DeadKeys are the keys that a dead event holds back.
func (y *Yard) DeadKeys(ctx context.Context) ([]TopicKey, error) {
	rows, _ := y.conn.Query(ctx, fmt.Sprintf(`select distinct topic, key from %s
		where name = $1 and state = 'dead' and key is not null`, y.names.table("parked")), y.name)
	keys, err := pgx.CollectRows(rows, pgx.RowToStructByPos[TopicKey])
	if err != nil {
		return nil, fmt.Errorf("list keys with dead events: %w", err)
	}
	return keys, nil
}

// Remains says what is left of each of these keys of a topic: true where a dead event holds the key back, false where
// only events are left that may be released. A key with nothing left is not in the answer.
func (y *Yard) Remains(ctx context.Context, topic string, keys []string) (map[string]bool, error) {
	rows, _ := y.conn.Query(ctx, fmt.Sprintf(`
		select k, dead from unnest($3::text[]) k, lateral (
			select state = 'dead' as dead from %s p
			 where p.name = $1 and p.topic = $2 and p.key = k and p.state in ('held', 'behind', 'dead')
			 order by state = 'dead' desc limit 1) r`,
		y.names.table("parked")), y.name, topic, keys)
	remains := map[string]bool{}
	var key string
	var dead bool
	_, err := pgx.ForEachRow(rows, []any{&key, &dead}, func() error {
		remains[key] = dead
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for parked events of keys: %w", err)
	}
	return remains, nil
}
