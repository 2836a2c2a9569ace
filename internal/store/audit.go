package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"

	"github.com/jackc/pgx/v5"
)

// Difference is what an audit found in one slot: the books of a relay name say one thing, the table another.
type Difference struct {
	Name string `json:"name"`
	Slot int16  `json:"slot"`
	// Missing are rows that were settled and are gone; Extra are rows that the cursor covers and that were never settled;
	// Altered says that rows are not as they were when they were settled. Events is how many differ, at least.
	Missing int64 `json:"missing"`
	Extra   int64 `json:"extra"`
	Altered int64 `json:"altered"`
	Events  int64 `json:"events"`
	// FromSeq and ToSeq bound where they are. Exact: these are the seqs, and no others.
	FromSeq int64   `json:"from_seq"`
	ToSeq   int64   `json:"to_seq"`
	Exact   []int64 `json:"exact,omitempty"`

	BookedRows int64 `json:"booked_rows"`
	FoundRows  int64 `json:"found_rows"`

	delta delta
}

// delta is what has to be added to the books to make them agree with the table.
type delta struct{ rows, versionRows, sum, versions string }

// maxExact bounds how many seqs a difference names one by one.
const maxExact = 1000

// coveredBy is the condition that the cursor in row r covers event e.
const coveredBy = `(pg_visible_in_snapshot(e.xid, r.window_from)
	or e.seq <= r.after_seq and coalesce(pg_visible_in_snapshot(e.xid, r.window_to), false))`

// auditSQL reads books and table of one slot in one statement, so under one snapshot: a settle moves the cursor and the
// books together, and is seen whole or not at all. A stranger is a row whose version is not its own transaction: edited,
// put there by hand, restored, or written in a savepoint.
const auditSQL = `
	select r.name, f.uncovered, coalesce(b.settled_rows, 0), f.found, f.found - coalesce(b.settled_rows, 0),
	       (f.sum - coalesce(b.settled_sum, 0))::text, f.found - coalesce(b.version_rows, 0),
	       (f.versions - coalesce(b.version_sum, 0))::text, coalesce(b.version_rows = b.settled_rows, true),
	       coalesce(f.first, 0), coalesce(greatest(f.last, b.last_seq), 0), f.strangers, f.stranger_sum::text, f.stranger_shift::text,
	       coalesce(f.young, false)
	  from %[1]s r
	  left join %[2]s b on b.name = r.name and b.slot = $1
	 cross join lateral (
		select count(*) filter (where not covered) as uncovered,
		       count(*) filter (where covered) as found,
		       coalesce(sum(seq) filter (where covered), 0) as sum,
		       coalesce(sum(version) filter (where covered), 0) as versions,
		       min(seq) filter (where covered) as first,
		       max(seq) filter (where covered) as last,
		       count(*) filter (where covered and version <> own) as strangers,
		       coalesce(sum(seq) filter (where covered and version <> own), 0) as stranger_sum,
		       coalesce(sum(version - own) filter (where covered and version <> own), 0) as stranger_shift,
		       max(created_at) > now() - $3::interval as young
		  from (select e.seq, e.created_at, e.xmin::text::bigint as version, e.xid::xid::text::bigint as own, ` + coveredBy + ` as covered
		          from %[3]s e offset 0) e) f
	 where $2::text is null or r.name = $2
	 order by r.name`

// slotAudit is one row of auditSQL.
type slotAudit struct {
	name              string
	uncovered         int64
	booked, found     int64
	rows, versionRows int64 // found less booked
	sum, versions     string
	comparable        bool // the books know the version of every row
	first, last       int64
	strangers         int64
	strangerSum       string
	strangerShift     string
	young             bool // a row is younger than what is to be kept
}

// Auditor compares the books with the table, and empties slots, over a connection of its own. Not safe for concurrent
// use.
type Auditor struct {
	conn  *pgx.Conn
	names Names
}

// NewAuditor works on any connection whose role has the relay's rights. It changes the session's settings. The auditor
// owns c from now on.
func NewAuditor(ctx context.Context, c *pgx.Conn, names Names) (*Auditor, error) {
	// The session rules of Connect are for pages; an audit reads whole slots.
	_, err := c.Exec(ctx, `set enable_seqscan = on; set enable_sort = on; set enable_bitmapscan = on; set plan_cache_mode = auto;
		set jit = off; set search_path = pg_catalog; set default_transaction_isolation = 'read committed'; set lock_timeout = '5s'`)
	if err != nil {
		return nil, fmt.Errorf("prepare to audit: %w", err)
	}
	return &Auditor{conn: c, names: names}, nil
}

// Conn is the auditor's connection, for statements in between.
func (a *Auditor) Conn() *pgx.Conn { return a.conn }

// Close ends the connection.
func (a *Auditor) Close() { closeSoon(a.conn) }

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func (a *Auditor) readSlot(ctx context.Context, q querier, slot int16, name *string, keep string) ([]slotAudit, error) {
	rows, _ := q.Query(ctx, fmt.Sprintf(auditSQL, a.names.table("relays"), a.names.table("slots"), a.slotTable(slot)), slot, name, keep)
	audits, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s slotAudit, err error) {
		err = row.Scan(&s.name, &s.uncovered, &s.booked, &s.found, &s.rows, &s.sum, &s.versionRows, &s.versions, &s.comparable,
			&s.first, &s.last, &s.strangers, &s.strangerSum, &s.strangerShift, &s.young)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("audit slot %d: %w", slot, err)
	}
	return audits, nil
}

func (a *Auditor) slotTable(slot int16) string { return a.names.table(fmt.Sprintf("events_%d", slot)) }

// AuditSlot compares one slot's books with its rows; nil when they agree. It waits for nobody and holds up nobody.
func (a *Auditor) AuditSlot(ctx context.Context, name string, slot int16) (*Difference, error) {
	audits, err := a.readSlot(ctx, a.conn, slot, &name, "0")
	if err != nil || len(audits) == 0 {
		return nil, err
	}
	return a.difference(ctx, a.conn, &audits[0], slot)
}

// Audit compares all slots of a relay name.
func (a *Auditor) Audit(ctx context.Context, name string) (found []Difference, err error) {
	for slot := range int16(RingSlots) {
		d, err := a.AuditSlot(ctx, name, slot)
		if err != nil {
			return nil, err
		}
		if d != nil {
			found = append(found, *d)
		}
	}
	return found, nil
}

// Record writes what an audit found into the books, for everybody who looks there.
func (a *Auditor) Record(ctx context.Context, name string, found []Difference) error {
	for slot := range int16(RingSlots) {
		var text *string
		for i := range found {
			if found[i].Slot == slot {
				encoded, err := json.Marshal(found[i])
				if err != nil {
					return fmt.Errorf("write down the difference: %w", err)
				}
				s := string(encoded)
				text = &s
			}
		}
		_, err := a.conn.Exec(ctx, fmt.Sprintf(`insert into %s as s (name, slot, audited_at, difference) values ($1, $2, now(), $3::jsonb)
			on conflict (name, slot) do update set audited_at = now(), difference = excluded.difference`, a.names.table("slots")),
			name, slot, text)
		if err != nil {
			return fmt.Errorf("write down the audit of slot %d: %w", slot, err)
		}
	}
	return nil
}

// difference says in what books and table differ, as narrowly as that can be proven; nil when they agree.
func (a *Auditor) difference(ctx context.Context, q querier, s *slotAudit, slot int16) (*Difference, error) {
	altered := s.comparable && s.versions != "0"
	if s.rows == 0 && s.sum == "0" && !altered {
		return nil, nil
	}
	d := &Difference{Name: s.name, Slot: slot, Missing: max(0, -s.rows), Extra: max(0, s.rows), FromSeq: s.first, ToSeq: s.last,
		BookedRows: s.booked, FoundRows: s.found,
		delta: delta{rows: fmt.Sprint(s.rows), sum: s.sum, versionRows: fmt.Sprint(s.versionRows), versions: s.versions}}
	same := s.rows == 0 && s.sum == "0"
	var err error
	switch {
	case same && s.strangers > 0: // only such a row can have been altered
		d.Altered = 1
		if s.versions == s.strangerShift {
			d.Altered = s.strangers
		}
		if err = a.name(ctx, q, d, s.strangers); s.versions != s.strangerShift {
			d.Exact = nil
		}
	case same:
		d.Altered = 1
	case s.rows == 0: // as many are gone as were added
		d.Missing, d.Extra = 1, 1
	case s.rows == s.strangers && s.sum == s.strangerSum:
		err = a.name(ctx, q, d, s.strangers)
	case s.rows == 1 || s.rows == -1:
		err = a.single(ctx, q, d, s)
	}
	d.Events = max(1, d.Missing+d.Extra, d.Altered)
	return d, err
}

// name narrows a difference to the rows whose version is not their own transaction.
func (a *Auditor) name(ctx context.Context, q querier, d *Difference, n int64) error {
	rows, _ := q.Query(ctx, fmt.Sprintf(`select e.seq from %s e join %s r on r.name = $1
		where %s and e.xmin <> e.xid::xid order by e.seq limit $2`, a.slotTable(d.Slot), a.names.table("relays"), coveredBy), d.Name, maxExact+1)
	seqs, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("look for altered rows in slot %d: %w", d.Slot, err)
	}
	if int64(len(seqs)) != n || len(seqs) == 0 || len(seqs) > maxExact {
		return nil
	}
	d.Exact, d.FromSeq, d.ToSeq = seqs, seqs[0], seqs[len(seqs)-1]
	return nil
}

// single narrows a difference of one row: what the sums differ by is its seq.
func (a *Auditor) single(ctx context.Context, q querier, d *Difference, s *slotAudit) error {
	sum, ok := new(big.Int).SetString(s.sum, 10)
	if !ok || sum.Sign() != int(s.rows) || !sum.Abs(sum).IsInt64() {
		return nil
	}
	seq := sum.Int64()
	var there bool
	err := q.QueryRow(ctx, fmt.Sprintf(`select exists (select from %s e join %s r on r.name = $1 where e.seq = $2 and %s)`,
		a.slotTable(d.Slot), a.names.table("relays"), coveredBy), d.Name, seq).Scan(&there)
	if err != nil {
		return fmt.Errorf("look for seq %d in slot %d: %w", seq, d.Slot, err)
	}
	if there == (s.rows > 0) {
		d.Exact, d.FromSeq, d.ToSeq = []int64{seq}, seq, seq
	}
	return nil
}
