package postgres

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/outboxrelay/relay/internal/devenv/process"
)

const roleVariable = "POSTGRES_TEST_ROLE"

// TestMain lets this binary play a program that is killed while its server runs.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		var opts Options
		if role == "killed-disk" {
			opts.DiskMB = 200
		}
		s, err := Start(context.Background(), opts)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%d %s\n", s.PID(), s.folder.Path)
		select {}
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, opts Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func query(t *testing.T, connection, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), connection)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var value string
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func eventually(t *testing.T, what string, claim func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if claim() {
			return
		}
	}
	t.Fatalf("not within 15 s: %s", what)
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, os.ErrNotExist)
}

func TestStart_ServesBothWaysWithTheSettingsGiven(t *testing.T) {
	s := start(t, Options{Settings: map[string]string{"work_mem": "7MB", "fsync": "off"}})
	if got := query(t, s.URL("postgres"), "select current_user || current_setting('work_mem')"); got != "postgres7MB" {
		t.Errorf("user and setting %q", got)
	}
	u, err := url.Parse(s.URL("postgres"))
	if err != nil || u.Hostname() != "127.0.0.1" {
		t.Fatalf("url %s: %v", s.URL("postgres"), err)
	}
	socket := fmt.Sprintf("host=%s port=%s user=postgres dbname=postgres", s.SocketDir(), u.Port())
	if got := query(t, socket, "select coalesce(inet_client_addr()::text, 'socket')"); got != "socket" {
		t.Errorf("through the socket: %q", got)
	}
	info, err := os.Stat(s.SocketDir())
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("socket folder %v, %v, want 0700", info.Mode(), err)
	}
	if len(filepath.Join(s.SocketDir(), ".s.PGSQL."+u.Port())) > 107 {
		t.Errorf("socket path %s is too long for the system", s.SocketDir())
	}
	folder, pid := s.folder.Path, s.PID()
	s.Stop()
	s.Stop()
	if !gone(folder) || syscall.Kill(pid, 0) == nil {
		t.Error("Stop left the folder or the server")
	}
}

func TestStart_KeepsANamedFolderWithALongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	var log bytes.Buffer
	s := start(t, Options{Dir: dir, Log: &log})
	query(t, s.URL("postgres"), "select 'x' from pg_create_physical_replication_slot('kept')")
	if _, err := Start(t.Context(), Options{Dir: dir}); !errors.Is(err, process.ErrInUse) {
		t.Errorf("a second server on the folder: %v, want ErrInUse", err)
	}
	socket := s.SocketDir()
	s.Stop()
	if !strings.Contains(log.String(), "ready to accept connections") {
		t.Errorf("log %q", log.String())
	}
	if !gone(socket) {
		t.Error("the short folder for the socket stayed")
	}
	s = start(t, Options{Dir: dir})
	if got := query(t, s.URL("postgres"), "select slot_name from pg_replication_slots"); got != "kept" {
		t.Errorf("found %q after a restart on the same folder", got)
	}
}

func TestStart_SaysWhyItCannot(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	_, err := Start(t.Context(), Options{Settings: map[string]string{"no_such_setting": "1"}})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("error %v, want the server's own words", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("failed starts left %v, %v", left, err)
	}
}

func TestServer_RestartsKillsAndStartsAgain(t *testing.T) {
	s := start(t, Options{Settings: map[string]string{"fsync": "off"}})
	url := s.URL("postgres")
	query(t, url, "with t as (select 1) select set_config('x.y', '1', false)")
	for _, mode := range []string{"fast", "immediate"} {
		pid := s.PID()
		if err := s.Restart(t.Context(), mode); err != nil {
			t.Fatal(err)
		}
		if s.PID() == pid || s.URL("postgres") != url {
			t.Errorf("%s: process %d, url %s: want another process at the same place", mode, s.PID(), s.URL("postgres"))
		}
		query(t, url, "select 'up'")
	}
	if err := s.Restart(t.Context(), "smart"); err == nil {
		t.Error("an unknown mode was taken")
	}
	if err := s.StartAgain(t.Context()); err == nil {
		t.Error("StartAgain on a running server was taken")
	}

	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	backend := int(conn.PgConn().PID())
	s.Kill()
	if syscall.Kill(s.PID(), 0) == nil {
		t.Error("the postmaster survived Kill")
	}
	eventually(t, "its backends are dead too", func() bool { return syscall.Kill(backend, 0) != nil })
	if err := s.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	query(t, url, "select 'up'")
}

// After a kill a backend may live on for a moment, and no server starts on the data until it is gone.
func TestServer_StartsAgainWhenTheLastBackendIsGone(t *testing.T) {
	s := start(t, Options{})
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	backend := int(conn.PgConn().PID())
	if err := errors.Join(syscall.Kill(backend, syscall.SIGSTOP), syscall.Kill(s.PID(), syscall.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the postmaster is gone", func() bool { ended, _ := s.proc.Exited(); return ended })
	started := make(chan error, 1)
	go func() { started <- s.StartAgain(t.Context()) }()
	eventually(t, "the new one finds the memory in use", func() bool { return strings.Contains(s.lastLines(), "pre-existing shared memory block") })
	if err := syscall.Kill(backend, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-started; err != nil {
		t.Error(err)
	}
	closed, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(closed)
}

func TestServer_FrozenAnswersNobodyAndThawedGoesOn(t *testing.T) {
	s := start(t, Options{Settings: map[string]string{"fsync": "off"}})
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	s.Freeze()
	answer := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "select 1")
		answer <- err
	}()
	select {
	case err := <-answer:
		t.Errorf("a frozen server answered: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	s.Thaw()
	if err := <-answer; err != nil {
		t.Error(err)
	}
	s.Freeze() // Stop must end a frozen server as well
}

func TestServer_LeavesNoSharedMemory(t *testing.T) {
	s := start(t, Options{})
	segment := strings.Fields(pidFile(s.data)[6])[1]
	s.Kill()
	if out, err := exec.Command("ipcs", "-m").Output(); err != nil || !bytes.Contains(out, []byte(" "+segment+" ")) {
		t.Skipf("segment %s is not in ipcs: nothing to look at (%v)", segment, err)
	}
	s.Stop()
	if out, _ := exec.Command("ipcs", "-m").Output(); bytes.Contains(out, []byte(" "+segment+" ")) {
		t.Errorf("segment %s stayed", segment)
	}
}

func TestStart_NothingSurvivesAKilledProgram(t *testing.T) {
	program := exec.Command(os.Args[0])
	program.Env = append(os.Environ(), roleVariable+"=killed")
	pid, folder := firstLine(t, program)
	_ = program.Process.Kill()
	_ = program.Wait()
	eventually(t, "the server and its folder are gone", func() bool {
		// The folder's name is in the arguments of every process of the server.
		return gone(folder) && (syscall.Kill(pid, 0) != nil || !gone(fmt.Sprintf("/proc/%d", pid)) && zombie(pid))
	})
}

// firstLine starts the program and reads the server's number and folder from it.
func firstLine(t *testing.T, program *exec.Cmd) (pid int, folder string) {
	t.Helper()
	program.Stderr = os.Stderr
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(line, &pid, &folder); err != nil {
		t.Fatal(err)
	}
	return pid, folder
}

func zombie(pid int) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return strings.Contains(string(stat), ") Z ")
}

func TestNewDatabase_IsFreshAndDropped(t *testing.T) {
	var first string
	t.Run("one test", func(t *testing.T) {
		first = NewDatabase(t)
		query(t, first, "select current_database()")
	})
	second := NewDatabase(t)
	if first == second {
		t.Errorf("two tests share %s", first)
	}
	if conn, err := pgx.Connect(t.Context(), first); err == nil {
		conn.Close(context.Background())
		t.Error("the first test's database is still there")
	}
	if query(t, second, "show fsync") != "off" {
		t.Error("the shared server syncs")
	}
}

func TestFindBinaries_SaysWhatToInstall(t *testing.T) {
	if got := version("/usr/lib/postgresql/15/bin"); got != 15 {
		t.Errorf("version %d, want 15", got)
	}
	if !strings.Contains(ErrNotInstalled.Error(), "make setup") {
		t.Error("the error names no cure")
	}
	bin, err := FindBinaries()
	if err != nil {
		t.Fatal(err)
	}
	if !executable(filepath.Join(bin, "postgres")) {
		t.Errorf("no postgres in %s", bin)
	}
}
