package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/process"
)

const (
	prefix = "outbox-relay-pg-"
	// A unix socket's path has room for 107 bytes on Linux and 103 on macOS.
	maxSocketPath = 103
	startTimeout  = 60 * time.Second
	portTries     = 5
)

// Options of a server.
type Options struct {
	Dir      string            // where the data lives and stays; "" is a temporary folder that Stop removes
	Settings map[string]string // postgresql.conf names; they win over the defaults here
	Log      io.Writer         // gets what the server wrote to its log, when Start fails and at Stop; nil: nowhere

	// DiskMB and WALDiskMB put all of the data, or the write-ahead log, on a disk of its own of this size, which can be
	// filled (see FillDisk). 0: no disk of its own. Needs root on Linux and a temporary folder; see CanMakeDisks.
	DiskMB    int
	WALDiskMB int
}

// Server is one running PostgreSQL. Its methods are safe from many goroutines, one at a time takes effect.
type Server struct {
	bin      string
	data     string
	socket   string
	settings map[string]string
	port     int
	account  *process.User
	log      *os.File
	logTo    io.Writer
	folder   *process.Folder
	guard    *process.Guard
	disk     string // mount points; "" without a disk of its own
	walDisk  string
	upstream *upstream // of a standby; nil is a primary from the start

	mu   sync.Mutex
	proc *process.Process
}

// Start makes a cluster (when the folder holds none) and runs a server on it. It returns when the server takes
// connections; ctx bounds that, and one minute does. Errors name what is missing on the machine and carry the last
// lines of the server's log; errors.Is finds ErrNotInstalled and process.ErrInUse.
func Start(ctx context.Context, opts Options) (*Server, error) { return newServer(ctx, opts, nil) }

// newServer starts a primary, or a standby of from.
func newServer(ctx context.Context, opts Options, from *upstream) (*Server, error) {
	bin, err := FindBinaries()
	if err != nil {
		return nil, err
	}
	account, err := process.Unprivileged("postgres", "nobody")
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	folder, err := process.OpenFolder(opts.Dir, prefix)
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	s := &Server{
		bin: bin, data: filepath.Join(folder.Path, "data"), settings: opts.Settings,
		account: account, folder: folder, logTo: opts.Log, upstream: from,
	}
	err = s.mount(opts)
	if err == nil {
		err = s.prepare()
	}
	if err != nil {
		folder.Release()
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	// SIGQUIT is the immediate shutdown: the postmaster ends its children and gives shared memory back.
	s.guard, err = process.NewGuard(folder, syscall.SIGQUIT)
	if err != nil {
		s.log.Close()
		folder.Release()
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.begin(ctx); err != nil {
		err = fmt.Errorf("start PostgreSQL: %w%s", err, s.lastLines())
		s.Stop()
		return nil, err
	}
	return s, nil
}

// prepare makes the folders and hands them to the server's account.
func (s *Server) prepare() error {
	folder := s.folder.Path
	s.socket = filepath.Join(folder, "s")
	if len(filepath.Join(s.socket, ".s.PGSQL.65535")) > maxSocketPath {
		short, err := os.MkdirTemp("", prefix+"s-")
		if err != nil {
			return fmt.Errorf("make the socket's folder: %w", err)
		}
		s.folder.AddTemporary(short)
		s.socket = short
	}
	for _, path := range []string{s.data, s.socket} {
		if err := s.own(path); err != nil {
			return err
		}
	}
	if s.account != nil {
		// The account has to pass through; what is inside stays its own (0700).
		if err := os.Chmod(folder, 0o711); err != nil {
			return fmt.Errorf("open the folder: %w", err)
		}
		if err := s.account.LetThrough(s.data); err != nil {
			return err
		}
	}
	var err error
	s.log, err = os.OpenFile(filepath.Join(folder, "postgres.log"), os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, 0o600)
	return err
}

// own makes a folder of the server's account.
func (s *Server) own(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if s.account == nil {
		return nil
	}
	if err := os.Chown(path, s.account.UID, s.account.GID); err != nil {
		return fmt.Errorf("give the folder to %s: %w", s.account.Name, err)
	}
	return nil
}

// begin runs initdb when needed, then the server, on another port when somebody took the first.
func (s *Server) begin(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(s.data, "PG_VERSION")); errors.Is(err, os.ErrNotExist) {
		if err := s.fill(ctx); err != nil {
			return err
		}
	}
	for try := 1; ; try++ {
		var err error
		if s.port, err = process.FreePort(); err != nil {
			return err
		}
		err = s.launch(ctx)
		if err == nil || try == portTries || ctx.Err() != nil || !strings.Contains(s.lastLines(), "could not bind") {
			return err
		}
	}
}

// fill makes the cluster: a new one, or a copy of the one upstream.
func (s *Server) fill(ctx context.Context) error {
	// Under another name first: a cluster that is half made (we were killed) is not taken for one.
	half := s.data + ".new"
	if err := errors.Join(os.RemoveAll(half), os.Rename(s.data, half)); err != nil {
		return fmt.Errorf("make a database cluster: %w", err)
	}
	program, args := "initdb", []string{"-D", half, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"}
	if s.upstream != nil {
		program, args = "pg_basebackup", s.upstream.backup(half)
	}
	if s.walDisk != "" {
		args = append(args, "--waldir="+filepath.Join(s.walDisk, "pg_wal"))
	}
	p, err := s.guard.Start(process.Spec{
		Path: filepath.Join(s.bin, program), Args: args, Dir: "/", Env: s.env(), User: s.account, Output: s.log,
	})
	if err != nil {
		return err
	}
	if err := p.Wait(ctx); err != nil {
		p.Kill()
		return fmt.Errorf("make a database cluster: %w", err)
	}
	if _, status := p.Exited(); status.ExitStatus() != 0 {
		return fmt.Errorf("make a database cluster in %s: %s exit %d", s.data, program, status.ExitStatus())
	}
	if err := os.Rename(half, s.data); err != nil {
		return fmt.Errorf("make a database cluster: %w", err)
	}
	return nil
}

// env keeps the caller's PG* variables and locale away from the server.
func (s *Server) env() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "TMPDIR=" + os.TempDir()}
}

// URL of a database on this server, over TCP, as user postgres.
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.User("postgres"), Host: fmt.Sprintf("127.0.0.1:%d", s.port),
		Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// SocketDir is the folder of the unix socket, for libpq's host parameter; the port is the URL's.
func (s *Server) SocketDir() string { return s.socket }

// Binaries is the folder of initdb, postgres, psql and pg_dump, of this server's version.
func (s *Server) Binaries() string { return s.bin }

// PID of the postmaster.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.PID()
}

// lastLines of the log, for an error that somebody has to understand.
func (s *Server) lastLines() string {
	text, err := os.ReadFile(s.log.Name())
	if err != nil || len(text) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "\n\t" + strings.Join(lines[max(0, len(lines)-12):], "\n\t")
}

// removeSharedMemory gives back the segment that a killed postmaster leaves; the next start would do it, but there
// may be none. Its number is the second on line 7 of postmaster.pid.
func (s *Server) removeSharedMemory() {
	lines := pidFile(s.data)
	if len(lines) < 7 {
		return
	}
	if numbers := strings.Fields(lines[6]); len(numbers) == 2 {
		_ = exec.Command("ipcrm", "-m", numbers[1]).Run() // gone already, or lost until reboot: 56 bytes
	}
}
