package store

import "fmt"

// Cursor is how far the relay has come. All that From shows is settled. While Open, a window (From, To] is being
// read page by page, and of its rows those with seq <= After are settled too.
type Cursor struct {
	From  Snapshot
	To    Snapshot // meaningful while Open
	After int64    // meaningful while Open
	Open  bool
}

// At is the cursor that stands on snapshot s with no window open.
func At(s Snapshot) Cursor { return Cursor{From: s} }

// Within is the cursor inside the window (c.From, to], behind the row with this seq.
func (c Cursor) Within(to Snapshot, after int64) Cursor {
	return Cursor{From: c.From, To: to, After: after, Open: true}
}

// Covers says whether a row is settled by this cursor.
func (c Cursor) Covers(xid uint64, seq int64) bool {
	return c.From.Shows(xid) || (c.Open && seq <= c.After && c.To.Shows(xid))
}

func (c Cursor) String() string {
	if !c.Open {
		return c.From.String()
	}
	return fmt.Sprintf("%s..%s after %d", c.From, c.To, c.After)
}
