package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/publisher"
)

func TestDecide_WhatBecameOfABatch(t *testing.T) {
	for name, c := range map[string]struct {
		batch           int64
		candidate       *inDoubt
		last            int64
		committed, lost bool
		gone            bool
	}{
		"the first ever":                            {},
		"nothing in doubt":                          {batch: 7, last: 7},
		"nothing in doubt, the last was aborted":    {batch: 8, last: 7},
		"committed":                                 {batch: 7, candidate: &inDoubt{7, 6}, last: 7, committed: true},
		"the first, committed":                      {batch: 1, candidate: &inDoubt{1, 0}, last: 1, committed: true},
		"aborted":                                   {batch: 7, candidate: &inDoubt{7, 6}, last: 6},
		"the first, aborted":                        {batch: 1, candidate: &inDoubt{1, 0}},
		"aborted after an aborted one":              {batch: 8, candidate: &inDoubt{8, 6}, last: 6},
		"PostgreSQL lost what came after":           {batch: 7, candidate: &inDoubt{7, 6}, last: 9, lost: true},
		"PostgreSQL lost all, and nothing in doubt": {batch: 7, last: 9, lost: true},
		"the topic was deleted":                     {batch: 7, candidate: &inDoubt{7, 6}, last: 0, gone: true},
	} {
		t.Run(name, func(t *testing.T) {
			var last *progress
			if c.last > 0 {
				last = &progress{Batch: c.last}
			}
			got, err := decide(c.batch, c.candidate, last)
			if errors.Is(err, errProgressLost) != c.gone || err != nil && !c.gone {
				t.Fatal(err)
			}
			if want := (verdictOfKafka{c.committed, c.lost, c.last}); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// TestExactly_SkipsNothingThatPostgreSQLForgot: batch k is prepared with 100 events and aborted, batch k+1 with the
// first 50 of them is committed, and a fail-over loses the commit that prepared k+1. Kafka's last is newer than the
// candidate, whose end says nothing about what was published.
func TestExactly_SkipsNothingThatPostgreSQLForgot(t *testing.T) {
	r := newRig(t, map[string]int32{"orders": 1, progressTopic: 1})
	r.showOnFailure()
	r.write50(1)
	w := r.start(r.exactly()) // batch 1: the first 50
	r.settled(10 * time.Second)
	w.halt(t)
	r.exec("create table was as select * from outbox.relays")
	r.write50(2)
	w = r.start(r.exactly()) // batch 2, for the candidate: all that is there
	r.settled(10 * time.Second)
	w.halt(t)
	lost := queryRow[string](r, `select json_build_object('batch', 1, 'after', 0, 'from', window_from::text, 'after_seq', after_seq,
		'floor', floor_seq, 'anchor_xid', anchor_xid::text::bigint, 'anchor_seq', anchor_seq, 'books', '[]'::json)::text from outbox.relays`)
	// The standby's row: before both, with a candidate that covers both, and Kafka has seen batch 2.
	r.exec(`update outbox.relays set window_from = '3:3:', window_to = null, after_seq = 0, floor_seq = 0, anchor_xid = '0', anchor_seq = 0,
		batch = 1, candidate = $1::jsonb, holder = null, expires_at = '-infinity'`, lost)
	r.write50(3)
	r.start(r.exactly())
	eventually(t, "the loss is told", 10*time.Second, func() bool { return strings.Contains(r.log.String(), "PostgreSQL has lost commits") })
	r.settled(10 * time.Second)
	seen := map[string]bool{}
	for _, k := range r.committed("orders") {
		if k.Offset >= 0 {
			seen[string(k.Value)] = true
		}
	}
	if len(seen) != 150 {
		t.Errorf("%d of 150 events", len(seen))
	}
	if again := len(r.committed("orders")); again != 100+150 {
		t.Errorf("%d records: the settled cursor was not where the next session began", again)
	}
}

func (r *rig) write50(n int) {
	r.exec("insert into outbox.events (topic, key, payload) select 'orders', 'k', to_json(n) from generate_series($1::int, $2::int) n",
		(n-1)*50+1, n*50)
}

// heldCommit lets the commit of its producer wait until it is let go.
type heldCommit struct {
	publisher.Transactional
	asked, let chan struct{}
}

func (h *heldCommit) Commit(ctx context.Context) (bool, error) {
	h.asked <- struct{}{}
	<-h.let
	return h.Transactional.Commit(ctx)
}

// TestExactly_ReadsProgressAfterTheFence: the old leader's commit is on its way while the new one takes over.
func TestExactly_ReadsProgressAfterTheFence(t *testing.T) {
	r := newRig(t, map[string]int32{"orders": 1, progressTopic: 1})
	r.showOnFailure()
	asked, let, done := make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	old := r.exactly()
	open := old.ExactlyOnce.Open
	old.ExactlyOnce.Open = func(ctx context.Context, id string, reports publisher.Reports) (publisher.Transactional, error) {
		p, err := open(ctx, id, reports)
		if err != nil || strings.HasSuffix(id, parkedID) {
			return p, err
		}
		return &heldCommit{p, asked, let}, nil
	}
	r.write50(1)
	r.start(old)
	<-asked // prepared in PostgreSQL, acked by Kafka
	r.exec("update outbox.relays set expires_at = '-infinity'")
	next := r.exactly()
	openNext := next.ExactlyOnce.Open
	next.ExactlyOnce.Open = func(ctx context.Context, id string, reports publisher.Reports) (publisher.Transactional, error) {
		if !strings.HasSuffix(id, parkedID) {
			select {
			case <-done:
			default: // the last moment before the fence
				close(let)
				eventually(t, "the old leader's commit is done", 10*time.Second, func() bool {
					last, err := old.ExactlyOnce.Last(ctx, TransactionalID(database(r), "outbox", "main"))
					return err == nil && last != nil
				})
				close(done)
			}
		}
		return openNext(ctx, id, reports)
	}
	r.start(next)
	<-done
	r.settled(20 * time.Second)
	checkOrder(t, r.committed("orders"), 50, 0)
}

func database(r *rig) string { return queryRow[string](r, "select current_database()") }

func TestExactly_RefusesAnothersTransactionalID(t *testing.T) {
	r := newRig(t, map[string]int32{"orders": 1, progressTopic: 1})
	r.showOnFailure()
	o := r.exactly()
	o.ExactlyOnce.ID = "shared"
	r.write50(1)
	first := r.start(o)
	r.settled(10 * time.Second)
	other := newRigOn(t, r.brokers)
	o = other.exactly()
	o.ExactlyOnce.ID, o.Name = "shared", "another"
	other.start(o)
	eventually(t, "the second one says whose id it is", 10*time.Second, func() bool {
		return strings.Contains(other.log.String(), `is in use by another outbox: outbox \"main\"`)
	})
	r.write50(2)
	r.settled(10 * time.Second)
	if ends := first.State().Report().SessionEnds; len(ends) > 0 {
		t.Errorf("the first one was disturbed: %v", ends)
	}
}

// The broker has left a transaction open for good. A person has to end it, and is told how; then the relay goes on.
func TestTakeOver_SaysWhichTransactionHangs(t *testing.T) {
	r := newRig(t, map[string]int32{"orders": 1, progressTopic: 1})
	r.showOnFailure()
	o := r.exactly()
	exactly := *o.ExactlyOnce
	last, tries := exactly.Last, new(atomic.Int64)
	exactly.Last = func(ctx context.Context, key string) ([]byte, error) {
		if tries.Add(1) <= 2 { // the first is the look before the fence
			return nil, publisher.NewError(publisher.ClassTimedOut, "a transaction before it is still open")
		}
		return last(ctx, key)
	}
	exactly.Hanging = func(_ context.Context, key string, ids ...string) (string, error) {
		return fmt.Sprint("abort what ", ids, " left beside ", key), nil
	}
	o.ExactlyOnce = &exactly
	r.write50(1)
	r.start(o)
	r.settled(20 * time.Second)
	id := "relay-" + queryRow[string](r, "select current_database()::text") + "-outbox-main"
	if want := fmt.Sprintf("delivery has stopped until a person acts: abort what [%s %s-parked] left beside %s", id, id, id); !strings.Contains(r.log.String(), want) {
		t.Errorf("the log does not say %q", want)
	}
	checkOrder(t, r.committed("orders"), 50, 0)
}

func TestLastProgress_TellsNothingFromUnreadable(t *testing.T) {
	away := errors.New("away")
	e := &ExactlyOnce{Topic: "p", Last: func(context.Context, string) ([]byte, error) { return nil, away }}
	if _, err := lastProgress(t.Context(), e, "id", progress{}); !errors.Is(err, away) {
		t.Errorf("a topic that could not be read: %v", err)
	}
	e.Last = func(context.Context, string) ([]byte, error) { return []byte("{"), nil }
	if _, err := lastProgress(t.Context(), e, "id", progress{}); err == nil {
		t.Error("half a record was read")
	}
}

func TestDoubtOf_NothingIsNothing(t *testing.T) {
	if doubtOf(nil) != nil || *doubtOf(&store.Candidate{Batch: 2, After: 1}) != (inDoubt{2, 1}) {
		t.Error("the numbers are not the candidate's")
	}
}
