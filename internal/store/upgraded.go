package store

import (
	"context"
	"fmt"
)

// upgradedSQL says whether the rows of the outbox are where they were written, as they are after pg_upgrade, which gives
// the cluster another identifier and keeps transaction ids and row versions. Each condition alone could hold by chance
// in a young cluster into which the dump of another young one was restored:
//   - the files of migrations were applied by transactions of their own; a restore copies all rows of a table in one;
//   - most of the events that the cursors cover have the version that their transaction gave them, and not all of them
//     the same one (edits and savepoints give others);
//   - no id, in events, cursors or anchors, lies in the future.
const upgradedSQL = `
	select (select count(distinct xmin::text) > 1 from %[1]s)
	   and (select coalesce(count(*) filter (where e.xmin = e.xid::xid) * 2 > count(*)
	                    and min(e.xid::text::numeric) filter (where e.xmin = e.xid::xid)
	                      < max(e.xid::text::numeric) filter (where e.xmin = e.xid::xid), false)
	          from %[3]s e where exists (select from %[2]s r where ` + coveredBy + `))
	   and not exists (select from %[3]s e, pg_current_snapshot() now where e.xid >= pg_snapshot_xmax(now))
	   and not exists (select from %[2]s r, pg_current_snapshot() now
	                    where pg_snapshot_xmax(r.window_from) > pg_snapshot_xmax(now) or pg_snapshot_xmax(r.window_to) > pg_snapshot_xmax(now)
	                       or r.anchor_xid >= pg_snapshot_xmax(now))`

// upgraded says that the cursors of another cluster are as good here: pg_upgrade made this cluster from it. The proof are
// the books, which know the sum of the versions of all rows that were settled.
func (b *rebase) upgraded(ctx context.Context) (yes bool, err error) {
	err = b.tx.QueryRow(ctx, fmt.Sprintf(upgradedSQL, b.names.table("relay_migrations"), b.names.table("relays"), b.names.table("events"))).
		Scan(&yes)
	if err != nil || !yes {
		return false, err
	}
	auditor := Auditor{names: b.names}
	for slot := range int16(RingSlots) {
		audits, err := auditor.readSlot(ctx, b.tx, slot, nil, "0")
		if err != nil {
			return false, err
		}
		for _, a := range audits {
			if a.rows != 0 || a.sum != "0" || !a.comparable || a.versions != "0" {
				return false, nil
			}
		}
	}
	return true, nil
}
