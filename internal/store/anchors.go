package store

// Anchor says: Seq was read from the events sequence before our own transaction was given XID. A transaction T > XID
// got its xid after that, and an event draws its seq after its transaction has an xid, so all of T's seqs are > Seq.
//
// An anchor must come from an xid of our own. A snapshot's xmax is "latest completed + 1", so T >= xmax may well have
// got its xid, and drawn its seqs, before the snapshot was taken.
type Anchor struct {
	XID uint64
	Seq int64
}

// maxAnchors bounds the memory: one anchor a settle, thinned by halves. Leaving an anchor out only lowers a floor.
const maxAnchors = 1024

// Anchors tell where the scan for a transaction's rows may begin. The zero value knows nothing: every floor is 0.
// Not safe for concurrent use.
type Anchors struct {
	base int64    // floor of the transactions that are not newer than any anchor
	list []Anchor // ascending in XID and in Seq
}

// NewAnchors starts from what the cursor row keeps: base, a floor below every row that is not settled, and the newest
// anchor known then (zero when there is none).
func NewAnchors(base int64, newest Anchor) *Anchors {
	a := &Anchors{base: base}
	if newest.XID > 0 && newest.Seq > base {
		a.list = append(a.list, newest)
	}
	return a
}

// Add takes a new anchor. One that is not newer than the last is left out.
func (a *Anchors) Add(n Anchor) {
	if last := a.Newest(); n.XID <= last.XID || n.Seq < last.Seq {
		return
	}
	a.list = append(a.list, n)
	if len(a.list) > maxAnchors {
		a.halve()
	}
}

// halve drops every second anchor of the older three quarters: recent floors stay sharp.
func (a *Anchors) halve() {
	older := len(a.list) * 3 / 4
	kept := a.list[:0]
	for i, n := range a.list {
		if i >= older || i%2 == 0 {
			kept = append(kept, n)
		}
	}
	a.list = kept
}

// Newest is the last anchor added, or the zero Anchor.
func (a *Anchors) Newest() Anchor {
	if len(a.list) == 0 {
		return Anchor{}
	}
	return a.list[len(a.list)-1]
}

// Floor is a seq below every row of transaction xid: rows of it have seq > Floor.
func (a *Anchors) Floor(xid uint64) int64 {
	lo, hi := 0, len(a.list) // the answer is the last anchor with XID < xid
	for lo < hi {
		mid := (lo + hi) / 2
		if a.list[mid].XID < xid {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return a.base
	}
	return a.list[lo-1].Seq
}

// FloorOf is a seq below every row that the cursor does not cover. Inside a window such a row is one of the window
// behind After, or of a transaction that To does not show, and that is not older than To's Xmin.
func (a *Anchors) FloorOf(c Cursor) int64 {
	floor := a.Floor(c.From.Xmin)
	if c.Open {
		floor = max(floor, min(c.After, a.Floor(c.To.Xmin)))
	}
	return floor
}

// Forget drops what no transaction from oldest on can need. Every later question must be about an xid >= oldest.
func (a *Anchors) Forget(oldest uint64) {
	drop := 0
	for drop+1 < len(a.list) && a.list[drop+1].XID < oldest {
		drop++
	}
	if drop > 0 {
		a.list = append(a.list[:0], a.list[drop:]...)
	}
}

// Start is where the scan of a window that begins at p may start while its end is not known yet. Transactions in
// progress at p whose floor lies more than near rows below are left out and returned as far: when the window's end
// shows one of them, the page has to be read again from StartShowing.
func (a *Anchors) Start(p Snapshot, near int64) (start int64, far []uint64) {
	head := a.Floor(p.Xmax)
	start = head
	for _, xid := range p.InProgress {
		floor := a.Floor(xid)
		if head-floor > near {
			far = append(far, xid)
			continue
		}
		start = min(start, floor)
	}
	return start, far
}

// StartShowing is where the scan of the window (p, c] may start.
func (a *Anchors) StartShowing(p, c Snapshot) int64 {
	start := a.Floor(p.Xmax)
	for _, xid := range p.InProgress {
		if c.Shows(xid) {
			start = min(start, a.Floor(xid))
		}
	}
	return start
}

// ShowsAny says whether c shows one of these transactions.
func ShowsAny(c Snapshot, xids []uint64) bool {
	for _, xid := range xids {
		if c.Shows(xid) {
			return true
		}
	}
	return false
}
