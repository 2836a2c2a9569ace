package postgres

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// unsynced is quicker; no test here cuts the power.
func unsynced() Options { return Options{Settings: map[string]string{"fsync": "off"}} }

func standbyOf(t *testing.T, primary *Server, sync bool) *Server {
	t.Helper()
	standby, err := primary.Standby(t.Context(), StandbyOptions{Sync: sync})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.Stop)
	return standby
}

func run(t *testing.T, s *Server, sql string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	return s.with(ctx, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, sql)
		return err
	})
}

func TestStandby_SynchronousHasWhatWasCommitted(t *testing.T) {
	primary := start(t, unsynced())
	standby := standbyOf(t, primary, true)
	if got := query(t, standby.URL("postgres"), "select pg_is_in_recovery() || current_setting('fsync')"); got != "trueoff" {
		t.Errorf("in recovery, and the primary's setting: %q", got)
	}
	before := query(t, primary.URL("postgres"), "select timeline_id::text from pg_control_checkpoint()")
	if err := run(t, primary, "create table kept as select generate_series(1, 1000)"); err != nil {
		t.Fatal(err)
	}
	primary.Kill()
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	both := URL("postgres", primary, standby)
	if got := query(t, both, "select count(*)::text from kept"); got != "1000" {
		t.Errorf("%s rows survived, want 1000", got)
	}
	if err := run(t, standby, "create table fresh ()"); err != nil {
		t.Errorf("write to the promoted standby: %v", err) // it waits for no standby of its own
	}
	if err := run(t, standby, "checkpoint"); err != nil {
		t.Fatal(err)
	}
	if after := query(t, both, "select timeline_id::text from pg_control_checkpoint()"); after == before {
		t.Errorf("timeline %s before and after", after)
	}
}

func TestStandby_CommitsWaitForASynchronousOne(t *testing.T) {
	primary := start(t, unsynced())
	standby := standbyOf(t, primary, true)
	standby.Freeze()
	done := make(chan error, 1)
	go func() { done <- run(t, primary, "create table waits ()") }()
	select {
	case err := <-done:
		t.Errorf("a commit did not wait for the frozen standby: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	standby.Thaw()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestStandby_DetachedLosesWhatCameAfter(t *testing.T) {
	primary := start(t, unsynced())
	standby := standbyOf(t, primary, false)
	if err := run(t, primary, "create table t as select 1 as n"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(standby.CatchUp(t.Context()), standby.Detach(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := run(t, primary, "insert into t values (2)"); err != nil {
		t.Fatal(err)
	}
	if err := standby.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := query(t, standby.URL("postgres"), "select count(*)::text from t"); got != "2" {
		t.Errorf("attached again, it has %s rows, want 2", got)
	}
	if err := standby.Detach(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := run(t, primary, "insert into t values (3)"); err != nil {
		t.Fatal(err)
	}
	primary.Kill()
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := query(t, standby.URL("postgres"), "select count(*)::text from t"); got != "2" {
		t.Errorf("the promoted standby has %s rows, want the 2 that had arrived", got)
	}
	if err := primary.Detach(t.Context()); err == nil {
		t.Error("a primary was detached")
	}
}

func TestFillDisk_RefusesWritesUntilThereIsRoom(t *testing.T) {
	NeedDisks(t)
	s := start(t, Options{DiskMB: 200, Settings: map[string]string{"fsync": "off"}})
	if err := run(t, s, "create table t (filler text)"); err != nil {
		t.Fatal(err)
	}
	free, err := s.FillDisk()
	if err != nil {
		t.Fatal(err)
	}
	grow := "insert into t select repeat(md5(n::text), 30) from generate_series(1, 5000) n"
	if err := run(t, s, grow); err == nil || !strings.Contains(err.Error(), "No space left") {
		t.Errorf("write to a full disk: %v", err)
	}
	free()
	if err := run(t, s, grow); err != nil {
		t.Errorf("write when there is room again: %v", err)
	}
	if _, err := s.FillWALDisk(); err == nil {
		t.Error("a disk that is not there was filled")
	}
	disk := s.disk
	s.Stop()
	if mounts, _ := os.ReadFile("/proc/self/mounts"); !gone(disk) || strings.Contains(string(mounts), disk) {
		t.Error("Stop left the disk")
	}
}

func TestFillWALDisk_EndsTheServer(t *testing.T) {
	NeedDisks(t)
	s := start(t, Options{WALDiskMB: 64, Settings: map[string]string{"fsync": "off", "min_wal_size": "32MB", "max_wal_size": "48MB"}})
	free, err := s.FillWALDisk()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server ends", func() bool {
		_ = run(t, s, "create table if not exists t (n int); insert into t select generate_series(1, 100000)")
		ended, _ := s.proc.Exited()
		return ended
	})
	free()
	if err := s.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	query(t, s.URL("postgres"), "select 'up'")
}

func TestStart_ADiskGoesWithAKilledProgram(t *testing.T) {
	NeedDisks(t)
	program := exec.Command(os.Args[0])
	program.Env = append(os.Environ(), roleVariable+"=killed-disk")
	pid, folder := firstLine(t, program)
	_ = program.Process.Kill()
	_ = program.Wait()
	eventually(t, "the server, its disk and its folder are gone", func() bool {
		mounts, _ := os.ReadFile("/proc/self/mounts")
		return gone(folder) && !strings.Contains(string(mounts), folder) && (syscall.Kill(pid, 0) != nil || zombie(pid))
	})
}
