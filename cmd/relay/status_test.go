package main

import (
	"strings"
	"testing"
)

func TestStatus_BeforeAnyRelayRan(t *testing.T) {
	env, conn := database(t)
	execute(t, conn, `insert into outbox.events (topic, payload) select 'orders', '{}' from generate_series(1, 3)`)
	r := decode[statusReport](t, runRelay(t, env, "status", "--json").wants(t, exitDone))
	if r.Known || r.Leader != nil || r.Pending != 3 || r.Rate != 0 || len(r.Ring) != 8 || len(r.Parked) != 5 {
		t.Errorf("%+v", r)
	}
	current := 0
	for _, slot := range r.Ring {
		if slot.Current {
			current++
			if slot.Bytes == 0 {
				t.Errorf("the current slot is empty: %+v", slot)
			}
		}
	}
	if current != 1 {
		t.Errorf("%d current slots", current)
	}
	out := runRelay(t, env, "status").wants(t, exitDone)
	if !strings.Contains(out, "none of this name has ever run") || !strings.Contains(out, "3 events pending") {
		t.Error(out)
	}
	execute(t, conn, `insert into outbox.relays (name) values ('another')`)
	if r := decode[statusReport](t, runRelay(t, env, "status", "--json").wants(t, exitDone)); r.Known || r.Pending != 3 {
		t.Errorf("beside another relay: %+v", r)
	}
}

func TestStatus_OfARelayThatRuns(t *testing.T) {
	env, conn := database(t)
	execute(t, conn, `insert into outbox.events (topic, payload) values ('orders', '{}')`)
	execute(t, conn, `
insert into outbox.relays (name, epoch, holder, expires_at, window_from, delivered, settled_at, last_error, last_error_at)
values ('main', 7, 'pod-1', now() + interval '10 s', pg_current_snapshot(), 41, now(), 'broker away', now() - interval '5 min')`)
	execute(t, conn, `
insert into outbox.parked (name, seq, state, id, topic, created_at)
select 'main', n, 'dead', gen_random_uuid(), 'orders', now() from generate_series(1, 2) n`)
	execute(t, conn, `insert into outbox.slots (name, slot, settled_rows, last_seq) values ('main', 3, 1234567, 99)`)
	delivering := make(chan struct{})
	go func() {
		defer close(delivering)
		for range 20 { // the rate is watched for a second, somewhere in these
			if _, err := conn.Exec(t.Context(), `update outbox.relays set delivered = delivered + 10; select pg_sleep(0.1)`); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	r := decode[statusReport](t, runRelay(t, env, "status", "--json").wants(t, exitDone))
	<-delivering
	if r.Leader == nil || r.Leader.Holder != "pod-1" || r.Leader.RemainingSeconds < 1 || r.Epoch != 7 || !r.Known {
		t.Errorf("leader %+v, epoch %d", r.Leader, r.Epoch)
	}
	if r.Rate < 20 || r.Rate > 120 {
		t.Errorf("rate %f, about 100 were delivered each second", r.Rate)
	}
	if r.Pending != 0 || r.Parked["dead"] != 2 || r.Parked["held"] != 0 || r.Ring[3].SettledRows != 1234567 || r.Ring[3].LastSeq != 99 ||
		r.LastError == nil || r.LastError.Message != "broker away" {
		t.Errorf("%+v", r)
	}
	execute(t, conn, `update outbox.relays set expires_at = now() - interval '1 s'`)
	out := runRelay(t, env, "status").wants(t, exitDone)
	for _, want := range []string{"none, last epoch 7", "nothing pending", "2 dead", "broker away, 5m", "1,234,567"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}

func TestStatus_WithoutTheOutboxNamesTheCure(t *testing.T) {
	env, _ := emptyDatabase(t)
	r := runRelay(t, env, "status")
	r.wants(t, exitFailed)
	if !strings.Contains(r.errors, `schema "outbox" has no outbox`) || !strings.Contains(r.errors, "run relay migrate up") {
		t.Error(r.errors)
	}
}
