package pgbouncer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/devenv/process"
)

const (
	prefix       = "outbox-relay-pgbouncer-"
	startTimeout = 20 * time.Second
	portTries    = 5
)

// ErrNotInstalled says that the machine has no PgBouncer.
var ErrNotInstalled = errors.New("no pgbouncer on this machine: run `make setup`, or install it (Debian: apt-get " +
	"install pgbouncer, macOS: brew install pgbouncer)")

// Options of a pooler.
type Options struct {
	Server *postgres.Server
	Mode   string // pool_mode: session, transaction or statement
	// Databases are further lines of the section [databases], such as "direct" → "dbname=app pool_mode=session". The
	// address of Server is added. Any other name leads to the database of that name, in Mode.
	Databases map[string]string
	PoolSize  int // connections to the server for each database and user; 0 is PgBouncer's default of 20
}

// Pooler is one running PgBouncer.
type Pooler struct {
	proc   *process.Process
	guard  *process.Guard
	folder *process.Folder
	log    *os.File
	port   int
}

// Find gives the path of the program. errors.Is finds ErrNotInstalled.
func Find() (string, error) {
	// Debian puts it where daemons are, which is not on everybody's PATH.
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer", "/opt/homebrew/bin/pgbouncer", "/usr/local/bin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}

// Start runs a pooler. It returns when connections are taken; ctx bounds that, and twenty seconds do.
func Start(ctx context.Context, opts Options) (*Pooler, error) {
	path, err := Find()
	if err != nil {
		return nil, err
	}
	account, err := process.Unprivileged("postgres", "nobody")
	if err != nil {
		return nil, fmt.Errorf("start PgBouncer: %w", err)
	}
	folder, err := process.OpenFolder("", prefix)
	if err != nil {
		return nil, fmt.Errorf("start PgBouncer: %w", err)
	}
	p := &Pooler{folder: folder}
	if p.log, err = os.Create(filepath.Join(folder.Path, "log")); err == nil {
		p.guard, err = process.NewGuard(folder, syscall.SIGTERM)
	}
	if err != nil {
		folder.Release()
		return nil, fmt.Errorf("start PgBouncer: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for range portTries {
		if err = p.launch(ctx, path, account, opts); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		text, _ := os.ReadFile(p.log.Name())
		p.Stop()
		return nil, fmt.Errorf("start PgBouncer: %w\n%s", err, text)
	}
	return p, nil
}

func (p *Pooler) launch(ctx context.Context, path string, account *process.User, opts Options) error {
	var err error
	if p.port, err = process.FreePort(); err != nil {
		return err
	}
	file, err := p.configure(account, opts)
	if err != nil {
		return err
	}
	p.proc, err = p.guard.Start(process.Spec{Path: path, Args: []string{file}, Dir: "/", User: account, Output: p.log})
	if err != nil {
		return err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port))
	for {
		conn, err := net.DialTimeout("tcp4", address, time.Second)
		if err == nil {
			return conn.Close()
		}
		if gone, status := p.proc.Exited(); gone {
			return fmt.Errorf("it ended before it was ready (exit %d)", status.ExitStatus())
		}
		select {
		case <-ctx.Done():
			p.proc.Kill()
			return fmt.Errorf("wait for it to be ready: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// configure writes pgbouncer.ini and hands it to the account.
func (p *Pooler) configure(account *process.User, opts Options) (file string, err error) {
	server, err := url.Parse(opts.Server.URL(""))
	if err != nil {
		return "", fmt.Errorf("read the server's address: %w", err)
	}
	var b strings.Builder
	b.WriteString("[databases]\n")
	databases := map[string]string{"*": ""}
	for name, line := range opts.Databases {
		databases[name] = line
	}
	for name, line := range databases {
		fmt.Fprintf(&b, "%s = host=%s port=%s user=postgres %s\n", name, server.Hostname(), server.Port(), line)
	}
	size := opts.PoolSize
	if size == 0 {
		size = 20
	}
	fmt.Fprintf(&b, "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\n"+
		"pool_mode = %s\ndefault_pool_size = %d\nmax_client_conn = 500\n", p.port, opts.Mode, size)
	file = filepath.Join(p.folder.Path, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		return "", fmt.Errorf("write its configuration: %w", err)
	}
	if account == nil {
		return file, nil
	}
	if err := errors.Join(os.Chown(file, account.UID, account.GID), os.Chmod(p.folder.Path, 0o711)); err != nil {
		return "", fmt.Errorf("give its configuration to %s: %w", account.Name, err)
	}
	return file, account.LetThrough(file)
}

// URL of a database through the pooler.
func (p *Pooler) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)),
		Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// Stop ends the pooler; connections are cut. Safe twice.
func (p *Pooler) Stop() {
	if p.proc != nil {
		p.proc.End(syscall.SIGTERM, 5*time.Second)
	}
	p.guard.Close()
	p.log.Close()
}
