package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/outboxrelay/relay/internal/mutant"
)

// defaultNear is how far below the head a transaction in progress may lower the start of the scan (rows).
const defaultNear = 50_000

// openSQL closes a window and reads its first page in one round trip. Its first row is the snapshot C, which comes
// also when no event does; the statement's own snapshot is C, so what it sees besides is what C shows. The second
// branch is not executed when C is what the caller knows already. Needs the btree on seq in each ring partition.
const openSQL = `
	select pg_current_snapshot()::text, null::int8, null::int2, null::uuid, null::text, null::text, null::text,
	       null::json, null::bytea, null::json, null::int4, null::timestamptz, null::timestamptz, null::xid
	union all
	select null, e.* from (
		select ` + rowColumns + ` from %[1]s
		 where seq > $1 and not pg_visible_in_snapshot(xid, $2::pg_snapshot)
		   and pg_current_snapshot()::text <> $3
		 order by %[2]s limit $4) e`

// pageSQL reads a further page of the window (P, C].
const pageSQL = `
	select ` + rowColumns + ` from %[1]s
	 where seq > $1 and not pg_visible_in_snapshot(xid, $2::pg_snapshot) and pg_visible_in_snapshot(xid, $3::pg_snapshot)
	 order by %[2]s limit $4`

// stillSQL is for a relay at rest: it costs the server less than half of openSQL, whose plan spans the ring.
const stillSQL = `select pg_current_snapshot()::text`

// anchorSQL gets an xid for the sake of it, and writes nothing.
const anchorSQL = `select pg_current_xact_id()::text`

const (
	openName  = "relay_open"
	pageName  = "relay_page"
	stillName = "relay_still"
)

// Reader reads windows page by page over a connection of its own. Not safe for concurrent use, except Cancel.
type Reader struct {
	conn *pgx.Conn
	raw  *pgconn.PgConn
	row  Row
	near int64

	sequence *sequence
	vigil    *vigil
	// known is the newest snapshot for which nothing was left to read.
	known string
	// window is the one whose rows are being handed out.
	window Cursor
}

// NewReader prepares the page queries on c, which the reader owns from now on. ask reaches the same server: it is asked
// there about c when nothing comes over c.
func NewReader(ctx context.Context, c *pgx.Conn, names Names, ask ConnString) (*Reader, error) {
	order := "seq"
	if mutant.On("order-by-xid-seq") {
		order = "xid, seq"
	}
	r := &Reader{conn: c, raw: c.PgConn(), near: defaultNear, sequence: newSequence(names)}
	for name, sql := range map[string]string{
		openName: fmt.Sprintf(openSQL, names.table("events"), order),
		pageName: fmt.Sprintf(pageSQL, names.table("events"), order), stillName: stillSQL,
	} {
		if _, err := r.raw.Prepare(ctx, name, sql, nil); err != nil {
			return nil, fmt.Errorf("prepare the page query: %w", err)
		}
	}
	var err error
	r.vigil, err = newVigil(ctx, c, ask)
	return r, err
}

// Anchor makes one between pages. It uses up an xid, so the next Read finds that something has happened. On the reader's
// own connection, because an anchor says something only about the server that the session reads from.
func (r *Reader) Anchor(ctx context.Context) (a Anchor, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var xid string
	if a.Seq, err = r.sequence.before(ctx, r.conn, anchorSQL, nil, &xid); err == nil {
		a.XID, err = parseXID(xid)
	}
	if err != nil {
		return Anchor{}, fmt.Errorf("take an anchor: %w", err)
	}
	return a, nil
}

// CheckSequence says what is wrong with the events sequence, beside what anchors knew of it: while it hands out numbers
// below a floor no row is found, so nothing is settled and nothing else reads the sequence.
func (r *Reader) CheckSequence(ctx context.Context, anchors *Anchors) error {
	r.sequence.high = max(r.sequence.high, anchors.Newest().Seq)
	return r.sequence.check(ctx, r.conn)
}

// Conn is the reader's connection, for statements between pages.
func (r *Reader) Conn() *pgx.Conn { return r.conn }

// Behind is the cursor behind a row of the page that is being handed out. Only for use in a row function.
func (r *Reader) Behind(row *Row) Cursor { return r.window.Within(r.window.To, row.Seq) }

// Close ends the connection.
func (r *Reader) Close() { closeSoon(r.conn) }

// Page is what one read gave.
type Page struct {
	// Next is where the reading goes on: behind the last row handed out, or, when the window is read to its end,
	// at its closing snapshot.
	Next Cursor
	Rows int
	// Quiet says that nothing has happened in the cluster since the last look.
	Quiet bool
}

// ErrStop ends a page early when a row function returns it, without an error: Page.Next then is behind the rows handed
// out before.
var ErrStop = errors.New("stop the page here")

// Read reads at most limit rows behind cursor c, in the order in which they are to be published, and hands each to
// row, which must be done with it when it returns, and soon: an open query pins xmin for the whole database. The first row of a window is handed out only after it is certain
// that no earlier row of the window is missing. It takes as long as the server is at work on it. An error other than
// ctx's ends the session.
func (r *Reader) Read(ctx context.Context, c Cursor, anchors *Anchors, limit int, row func(*Row) error) (Page, error) {
	watched, done := r.vigil.over(ctx)
	defer done()
	page, err := r.read(watched, c, anchors, limit, row)
	if err != nil && errors.Is(context.Cause(watched), errSilent) {
		err = fmt.Errorf("read a page: %w", errSilent) // not that it was cut
	}
	return page, err
}

func (r *Reader) read(ctx context.Context, c Cursor, anchors *Anchors, limit int, row func(*Row) error) (Page, error) {
	if c.Open {
		return r.readOn(ctx, c, max(c.After, anchors.StartShowing(c.From, c.To)), limit, row)
	}
	start, far := anchors.Start(c.From, r.near)
	if mutant.On("cursor-on-seq") {
		start = max(start, c.After)
	}
	rr := r.raw.ExecPrepared(ctx, openName, [][]byte{
		strconv.AppendInt(nil, start, 10), []byte(c.From.String()), []byte(r.known), strconv.AppendInt(nil, int64(limit), 10),
	}, nil, []int16{1})
	to, text, err := firstSnapshot(rr)
	if err != nil {
		if _, closeErr := rr.Close(); closeErr != nil {
			err = closeErr // why nothing came
		}
		return Page{Next: c}, fmt.Errorf("read the window's snapshot: %w", err)
	}
	if text == r.known {
		_, err := rr.Close()
		return Page{Next: c, Quiet: true}, err
	}
	if ShowsAny(to, far) && !mutant.On("no-second-look") {
		// The page began above rows of a long transaction that this snapshot newly shows. Nothing of it was handed
		// out yet: give it up and read the same window again from the floor of that transaction.
		if err := r.giveUp(ctx, rr); err != nil {
			return Page{Next: c}, err
		}
		return r.readOn(ctx, c.Within(to, 0), anchors.StartShowing(c.From, to), limit, row)
	}
	page, err := r.handOut(ctx, rr, 1, c.Within(to, 0), limit, row)
	if err == nil && page.Rows == 0 && mutant.On("silent-empty-window") {
		later, err := r.laterSnapshot(ctx)
		return Page{Next: At(later)}, err
	}
	if err == nil && !page.Next.Open {
		r.known = text
	}
	return page, err
}

// Still says that no transaction has begun or ended in the cluster since a Read that left nothing: the next Read would
// find nothing either.
func (r *Reader) Still(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	result := r.raw.ExecPrepared(ctx, stillName, nil, nil, nil).Read()
	if result.Err != nil {
		return false, fmt.Errorf("look for new transactions: %w", result.Err)
	}
	return string(result.Rows[0][0]) == r.known, nil
}

// readOn reads a page of the window c.From … c.To from seq > start.
func (r *Reader) readOn(ctx context.Context, c Cursor, start int64, limit int, row func(*Row) error) (Page, error) {
	rr := r.raw.ExecPrepared(ctx, pageName, [][]byte{
		strconv.AppendInt(nil, start, 10), []byte(c.From.String()), []byte(c.To.String()), strconv.AppendInt(nil, int64(limit), 10),
	}, nil, []int16{1})
	return r.handOut(ctx, rr, 0, c, limit, row)
}

// handOut gives each row of a result, from column skip on, to row.
func (r *Reader) handOut(ctx context.Context, rr *pgconn.ResultReader, skip int, c Cursor, limit int, row func(*Row) error) (Page, error) {
	page := Page{Next: c}
	r.window = c
	for rr.NextRow() {
		if err := r.row.decode(rr.Values()[skip:]); err != nil {
			_ = r.giveUp(ctx, rr)
			return page, err
		}
		if err := row(&r.row); err != nil {
			closeErr := r.giveUp(ctx, rr)
			if errors.Is(err, ErrStop) {
				return page, closeErr
			}
			return page, err
		}
		page.Rows++
		page.Next.After = r.row.Seq
	}
	if _, err := rr.Close(); err != nil {
		return page, fmt.Errorf("read a page: %w", err)
	}
	if page.Rows < limit {
		after := page.Next.After
		page.Next = At(c.To)
		if mutant.On("cursor-on-seq") {
			page.Next.After = after
		}
	}
	return page, nil
}

// laterSnapshot belongs to a known-bad variant: the end of an empty window, asked for after the window was read.
func (r *Reader) laterSnapshot(ctx context.Context) (Snapshot, error) {
	var text string
	if err := r.conn.QueryRow(ctx, "select pg_current_snapshot()::text").Scan(&text); err != nil {
		return Snapshot{}, err
	}
	return ParseSnapshot(text)
}

// firstSnapshot reads the row that carries C. It has to be the first.
func firstSnapshot(rr *pgconn.ResultReader) (Snapshot, string, error) {
	if !rr.NextRow() {
		return Snapshot{}, "", errors.New("the page query answered nothing")
	}
	v := rr.Values()
	if len(v) != rowWidth+1 || v[0] == nil {
		return Snapshot{}, "", errors.New("the page query's first row is not its snapshot")
	}
	text := string(v[0])
	s, err := ParseSnapshot(text)
	return s, text, err
}

// giveUp ends a result that is not wanted to its end. The server may hold many more rows of it: cancel it instead of
// reading them.
func (r *Reader) giveUp(ctx context.Context, rr *pgconn.ResultReader) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := r.raw.CancelRequest(ctx); err != nil {
		_ = r.raw.Close(ctx)
		return fmt.Errorf("cancel a page: %w", err)
	}
	_, err := rr.Close()
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "57014" { // query_canceled
		return nil
	}
	if err != nil {
		return fmt.Errorf("give up a page: %w", err)
	}
	// The page ended before the cancel request reached it; the request may hit the next statement instead.
	return r.absorbCancel(ctx)
}

// absorbCancel waits out a cancel request that may still be on its way.
func (r *Reader) absorbCancel(ctx context.Context) error {
	_, err := r.raw.Exec(ctx, "select pg_sleep(0.02)").ReadAll()
	var pg *pgconn.PgError
	if err == nil || (errors.As(err, &pg) && pg.Code == "57014") {
		return nil
	}
	return fmt.Errorf("wait out a cancelled page: %w", err)
}
