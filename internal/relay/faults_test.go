package relay

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/fake"
	"github.com/outboxrelay/relay/internal/devenv/gobuild"
)

// TestFaults_KilledBetweenTheStepsOfParking kills a relay with SIGKILL between each two steps of parking and of
// releasing, lets another take over, and wants every event delivered, in order, with no more copies than one shipment,
// and nothing left in the table.
func TestFaults_KilledBetweenTheStepsOfParking(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the relay with failpoints")
	}
	t.Parallel()
	binary := withFailpoints(t)
	for _, point := range []string{"settle-ready", "settle-done", "release-sent", "release-acked", "release-deleted"} {
		t.Run(point, func(t *testing.T) { killAt(t, binary, point, false) })
	}
	for _, point := range []string{"prepare-ready", "prepare-done", "committed", "settle-ready", "settle-done",
		"release-sent", "release-prepared", "release-committed", "release-acked"} {
		t.Run("exactly_once/"+point, func(t *testing.T) { killAt(t, binary, point, true) })
	}
}

// withFailpoints builds the relay that heeds RELAY_FAULT.
func withFailpoints(t *testing.T) (binary string) {
	t.Helper()
	binary = filepath.Join(t.TempDir(), "relay")
	if err := gobuild.Relay(t.Context(), binary, "-tags", "faults"); err != nil {
		t.Fatal(err)
	}
	return binary
}

func killAt(t *testing.T, binary, point string, exactly bool) {
	t.Parallel()
	r := newRigOn(t, fake.ForTest(t, map[string]int32{"there": 4, progressTopic: 1}).Brokers())
	r.showOnFailure()
	var mode []string
	if exactly {
		mode = []string{"RELAY_OUTBOX_DELIVERY=exactly_once"}
	}
	r.exec("insert into outbox.events (topic, key, payload) select 'later', n % 10, to_json(n) from generate_series(1, 2000) n")
	r.exec("insert into outbox.events (topic, key, payload) select 'there', n % 10, to_json(n) from generate_series(1, 2000) n")
	at := point + ":kill"
	hot := !strings.HasPrefix(point, "release")
	if hot && (!exactly || !strings.HasPrefix(point, "settle")) {
		at += "@2" // the first is done, the second is the one in question; exactly_once settles only at rest
	}
	first := r.child(binary, append(mode, "RELAY_FAULT="+at)...)
	if strings.HasPrefix(point, "release") {
		eventually(t, "events are held", 30*time.Second, func() bool {
			return queryRow[int](r, "select count(*) from outbox.parked where state = 'held'") > 0
		})
	}
	r.createTopic("later", 4, nil)
	if hot {
		r.exec("insert into outbox.events (topic, key, payload) select 'there', n % 10, to_json(n) from generate_series(2001, 2010) n")
	}
	giveUp := time.AfterFunc(time.Minute, func() { _ = first.Process.Signal(os.Interrupt) })
	defer giveUp.Stop()
	if err := first.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the relay was not killed at %s: %v", point, err)
	}
	r.exec("update outbox.relays set expires_at = '-infinity'") // so that the successor need not wait for the lease
	second := r.child(binary, mode...)
	want := queryRow[int](r, "select count(*) from outbox.events where topic = 'there'")
	eventually(t, "everything is delivered", 60*time.Second, func() bool {
		return queryRow[int](r, "select count(*) from outbox.delivery where status <> 'delivered'") == 0
	})
	// It may have had nothing to do, and be so young that a signal would end it.
	eventually(t, "the second relay leads", 30*time.Second, func() bool { return strings.Count(r.log.String(), `"leading"`) == 2 })
	_ = second.Process.Signal(os.Interrupt)
	if err := second.Wait(); err != nil {
		t.Errorf("the second relay: %v", err)
	}
	if exactly {
		checkOrder(t, r.committed("later"), 2000, 0)
		checkOrder(t, r.committed("there"), want, 0)
		return
	}
	copies := usualRows // of the hot path: when it is killed, the topic may have been there already
	if strings.HasPrefix(point, "release") {
		copies = shipmentRows
	}
	checkOrder(t, r.read("later"), 2000, copies)
	checkOrder(t, r.read("there"), want, usualRows)
}

// child runs the binary as a user would.
func (r *rig) child(binary string, env ...string) *exec.Cmd {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "run")
	cmd.Dir = r.t.TempDir()
	cmd.Env = append(append(os.Environ(), "RELAY_POSTGRES_URL="+r.url, "RELAY_KAFKA_BROKERS="+strings.Join(r.brokers, ","),
		"RELAY_HTTP_LISTEN=", "RELAY_OUTBOX_WAKE=poll"), env...)
	cmd.Stderr = r.log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if r.t.Failed() {
			r.t.Logf("log of %s:\n%s", strconv.Quote(fmt.Sprint(env)), r.log)
		}
	})
	return cmd
}
