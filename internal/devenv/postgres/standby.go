package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// StandbyOptions of a standby. Options.Settings come on top of the primary's.
type StandbyOptions struct {
	Options
	// Sync makes each commit on the primary wait until this standby has it on disk. While the standby is stopped,
	// frozen or detached, commits on the primary hang.
	Sync bool
}

// upstream is where a standby gets its data from.
type upstream struct {
	primary *Server
	name    string // of the standby at the primary: its application_name and its replication slot
}

// backup gives pg_basebackup's arguments for a copy of the primary into a folder. The slot keeps what the standby has
// not yet received, however long it is away.
func (u *upstream) backup(into string) []string {
	return []string{"-D", into, "-d", u.conninfo(), "-R", "-C", "-S", u.name, "-X", "stream", "-c", "fast", "--no-sync"}
}

func (u *upstream) conninfo() string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=postgres application_name=%s", u.primary.port, u.name)
}

// Standby copies the server and starts the copy as a hot standby that follows it. It returns when the standby streams,
// and, with Sync, when commits wait for it. The standby is a server like another: it is stopped by its own Stop, which
// should come before the primary's.
func (s *Server) Standby(ctx context.Context, opts StandbyOptions) (*Server, error) {
	settings := maps.Clone(s.settings)
	if settings == nil {
		settings = map[string]string{}
	}
	maps.Copy(settings, opts.Settings)
	opts.Settings = settings
	u := &upstream{primary: s, name: "standby_" + strings.ToLower(rand.Text()[:8])}
	standby, err := newServer(ctx, opts.Options, u)
	if err != nil {
		return nil, fmt.Errorf("make a standby: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	// What the copy has from the primary about standbys of its own would make it wait for them once it is promoted.
	err = standby.configure(ctx, "reset synchronous_standby_names")
	if err == nil && opts.Sync {
		err = s.configure(ctx, "set synchronous_standby_names = '"+u.name+"'")
	}
	if err == nil {
		wanted := map[bool]string{true: "sync", false: "async"}[opts.Sync]
		err = s.until(ctx, `select exists (select from pg_stat_replication
			where application_name = $1 and state = 'streaming' and sync_state = $2)`, u.name, wanted)
	}
	if err != nil {
		standby.Stop()
		return nil, fmt.Errorf("make a standby: %w", err)
	}
	return standby, nil
}

// Promote makes a standby a primary with a timeline of its own, and returns when it takes writes. What the old primary
// had committed and not sent is lost to it. Stop or kill the old primary first, or there are two.
func (s *Server) Promote(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := s.with(ctx, func(c *pgx.Conn) error {
		var done bool
		if err := c.QueryRow(ctx, "select pg_promote(true, 60)").Scan(&done); err != nil {
			return err
		}
		if !done {
			return errors.New("it is still in recovery after 60 s")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("promote the standby: %w", err)
	}
	return nil
}

// Detach cuts a standby off: it keeps what it has, and what the primary commits from now on does not arrive. When it
// returns, nothing arrives any more.
func (s *Server) Detach(ctx context.Context) error {
	if s.upstream == nil {
		return errors.New("detach: this server is not a standby")
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := s.configure(ctx, "set primary_conninfo = ''")
	if err == nil {
		// The process, not the view: the view is empty already while the receiver writes its last piece.
		err = s.until(ctx, `select not exists (select from pg_stat_activity where backend_type = 'walreceiver')`)
	}
	if err != nil {
		return fmt.Errorf("detach the standby: %w", err)
	}
	return nil
}

// Attach ends Detach. It returns when the standby has all that the primary had at the time of the call.
func (s *Server) Attach(ctx context.Context) error {
	if s.upstream == nil {
		return errors.New("attach: this server is not a standby")
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := s.configure(ctx, "set primary_conninfo = '"+s.upstream.conninfo()+"'")
	if err == nil {
		err = s.CatchUp(ctx)
	}
	if err != nil {
		return fmt.Errorf("attach the standby: %w", err)
	}
	return nil
}

// CatchUp waits until a standby shows all that the primary had committed at the time of the call.
func (s *Server) CatchUp(ctx context.Context) error {
	if s.upstream == nil {
		return errors.New("catch up: this server is not a standby")
	}
	var there string
	err := s.upstream.primary.with(ctx, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, "select pg_current_wal_lsn()::text").Scan(&there)
	})
	if err == nil {
		err = s.until(ctx, "select pg_last_wal_replay_lsn() >= $1::pg_lsn", there)
	}
	if err != nil {
		return fmt.Errorf("wait for the standby to catch up: %w", err)
	}
	return nil
}

// URL of a database on several servers, in this order, for the one of them that takes writes.
func URL(database string, servers ...*Server) string {
	hosts := make([]string, len(servers))
	for i, s := range servers {
		hosts[i] = fmt.Sprintf("127.0.0.1:%d", s.port)
	}
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Host: strings.Join(hosts, ","), Path: "/" + database,
		RawQuery: "sslmode=disable&target_session_attrs=read-write"}
	return u.String()
}

// configure runs alter system and has the server read it.
func (s *Server) configure(ctx context.Context, change string) error {
	return s.with(ctx, func(c *pgx.Conn) error {
		if _, err := c.Exec(ctx, "alter system "+change); err != nil {
			return err
		}
		_, err := c.Exec(ctx, "select pg_reload_conf()")
		return err
	})
}

// until asks a question until the answer is yes.
func (s *Server) until(ctx context.Context, question string, args ...any) error {
	return s.with(ctx, func(c *pgx.Conn) error {
		for {
			var yes bool
			if err := c.QueryRow(ctx, question, args...).Scan(&yes); err != nil || yes {
				return err
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s: %w", question, ctx.Err())
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
}

func (s *Server) with(ctx context.Context, do func(*pgx.Conn) error) error {
	c, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	return do(c)
}
