package store

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Snapshot is a pg_snapshot: which transactions were committed at one moment. Every xid below Xmin had ended; none
// from Xmax on had; of those between, the ones in InProgress had not. Shared freely: nobody changes one.
type Snapshot struct {
	Xmin, Xmax uint64
	InProgress []uint64 // ascending
}

// FirstSnapshot shows nothing: 3 is the first xid that PostgreSQL hands out.
func FirstSnapshot() Snapshot { return Snapshot{Xmin: 3, Xmax: 3} }

// ParseSnapshot reads PostgreSQL's text form, xmin:xmax:xip,xip,…
func ParseSnapshot(text string) (Snapshot, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return Snapshot{}, fmt.Errorf("parse snapshot %q: want xmin:xmax:xip_list", text)
	}
	var s Snapshot
	var err error
	if s.Xmin, err = parseXID(parts[0]); err != nil {
		return Snapshot{}, fmt.Errorf("parse snapshot %q: xmin: %w", text, err)
	}
	if s.Xmax, err = parseXID(parts[1]); err != nil {
		return Snapshot{}, fmt.Errorf("parse snapshot %q: xmax: %w", text, err)
	}
	if s.Xmin > s.Xmax || s.Xmin == 0 {
		return Snapshot{}, fmt.Errorf("parse snapshot %q: xmin is not between 1 and xmax", text)
	}
	if parts[2] == "" {
		return s, nil
	}
	for item := range strings.SplitSeq(parts[2], ",") {
		xid, err := parseXID(item)
		if err != nil {
			return Snapshot{}, fmt.Errorf("parse snapshot %q: %w", text, err)
		}
		if xid < s.Xmin || xid >= s.Xmax || (len(s.InProgress) > 0 && xid <= s.InProgress[len(s.InProgress)-1]) {
			return Snapshot{}, fmt.Errorf("parse snapshot %q: xid %d is out of order or range", text, xid)
		}
		s.InProgress = append(s.InProgress, xid)
	}
	return s, nil
}

func parseXID(text string) (uint64, error) {
	if text == "" || text[0] == '+' {
		return 0, fmt.Errorf("%q is not an xid", text)
	}
	return strconv.ParseUint(text, 10, 64)
}

// String is PostgreSQL's text form.
func (s Snapshot) String() string {
	b := make([]byte, 0, 24+12*len(s.InProgress))
	b = strconv.AppendUint(b, s.Xmin, 10)
	b = append(b, ':')
	b = strconv.AppendUint(b, s.Xmax, 10)
	b = append(b, ':')
	for i, xid := range s.InProgress {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, xid, 10)
	}
	return string(b)
}

// Shows says whether transaction xid had ended when the snapshot was taken: pg_visible_in_snapshot.
func (s Snapshot) Shows(xid uint64) bool {
	if xid < s.Xmin {
		return true
	}
	if xid >= s.Xmax {
		return false
	}
	_, running := slices.BinarySearch(s.InProgress, xid)
	return !running
}

// Equal says whether both show the same transactions.
func (s Snapshot) Equal(o Snapshot) bool {
	return s.Xmin == o.Xmin && s.Xmax == o.Xmax && slices.Equal(s.InProgress, o.InProgress)
}
