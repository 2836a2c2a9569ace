package torture

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

const (
	sampleEvery  = 50 * time.Millisecond
	pendingEvery = 40 // samples; counting costs
	usageEvery   = time.Second
)

// sampler looks at the relays' row, twenty times a second, over connections that it opens again.
type sampler struct {
	connect func(ctx context.Context) (*pgx.Conn, error)
	schema  string // quoted
	name    string // of the outbox
	journal *journal.Writer
	last    atomic.Pointer[journal.Sample]
}

// holder is who held the lease when it was last looked at; "" nobody.
func (s *sampler) holder() string {
	if last := s.last.Load(); last != nil {
		return last.Holder
	}
	return ""
}

func (s *sampler) run(ctx context.Context) {
	var conn *pgx.Conn
	for n := 0; ctx.Err() == nil; n++ {
		pause(ctx, sampleEvery)
		look, cancel := context.WithTimeout(ctx, 5*time.Second)
		if conn == nil {
			conn, _ = s.connect(look) // it is away; look again
		}
		if conn != nil && s.look(look, conn, n%pendingEvery == 0) != nil {
			closeNow(conn)
			conn = nil
		}
		cancel()
	}
	if conn != nil {
		closeNow(conn)
	}
}

func closeNow(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// look writes a line when something but the lease's end has changed.
func (s *sampler) look(ctx context.Context, conn *pgx.Conn, count bool) error {
	sample := journal.Sample{}
	// The checkpoint's timeline is that of the old primary for a moment after a promotion; that of the log is not.
	sql := `select s.system_identifier::text, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int, r.epoch, coalesce(r.holder, ''), r.window_from::text,
	               coalesce(r.window_to::text, ''), r.after_seq, r.delivered
	          from pg_control_system() s, ` + s.schema + `.relays r where r.name = $1`
	err := conn.QueryRow(ctx, sql, s.name).Scan(&sample.System, &sample.Timeline, &sample.Epoch, &sample.Holder, &sample.From,
		&sample.To, &sample.After, &sample.Delivered)
	if err != nil {
		return err
	}
	if count {
		if err := conn.QueryRow(ctx, "select coalesce(sum(pending), 0)::bigint from "+s.schema+".lag where name = $1", s.name).
			Scan(&sample.Pending); err != nil {
			return err
		}
	}
	if last := s.last.Load(); last != nil {
		same := *last
		same.At, same.Pending = 0, 0
		if here := sample; same == here {
			return nil
		}
	}
	sample.At = journal.Now()
	s.last.Store(&sample)
	s.journal.Append(sample)
	return nil
}

// observe writes down what the relays use, and who has ended, until ctx ends.
func (r *replicas) observe(ctx context.Context, usage *journal.Writer) {
	for ctx.Err() == nil {
		pause(ctx, usageEvery)
		for _, one := range r.all {
			one.mu.Lock()
			var line journal.Usage
			alive := one.proc != nil && !one.lookGone(r.note)
			if alive {
				line = journal.Usage{At: journal.Now(), Replica: one.number, Process: one.process}
				line.RSS, line.Files = footprint(one.proc.PID())
			}
			one.mu.Unlock()
			if alive {
				line.LogLines = lines(filepath.Join(r.dir, "relay-"+strconv.Itoa(line.Replica)+"."+strconv.Itoa(line.Process)+".log"))
				usage.Append(line)
			}
		}
	}
}

// footprint reads /proc; zeros where there is none.
func footprint(pid int) (rss int64, files int) {
	root := "/proc/" + strconv.Itoa(pid)
	status, _ := os.ReadFile(filepath.Join(root, "status"))
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			rss = kb << 10
		}
	}
	open, _ := os.ReadDir(filepath.Join(root, "fd"))
	return rss, len(open)
}

func lines(path string) int64 {
	text, _ := os.ReadFile(path)
	return int64(bytes.Count(text, []byte{'\n'}))
}
