package torture

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/process"
	"github.com/outboxrelay/relay/internal/torture/journal"
)

// stopPatience is more than the relay's drain_timeout.
const stopPatience = 40 * time.Second

// replicas are the relays. Safe for concurrent use.
type replicas struct {
	binary string
	env    []string
	dir    string // of the logs
	guard  *process.Guard
	config string // path of the configuration
	note   func(journal.Action)
	holder func() string // who holds the lease, as last seen
	all    []*replica
}

// replica is a relay's place: one process after the other.
type replica struct {
	mu      sync.Mutex
	number  int // from 1
	address string
	proc    *process.Process
	process int  // from 1
	ours    bool // it was ended by us
}

// newReplicas finds an address for each one's HTTP server.
func newReplicas(n int) (*replicas, error) {
	r := &replicas{}
	for i := range n {
		port, err := process.FreePort()
		if err != nil {
			return nil, err
		}
		r.all = append(r.all, &replica{number: i + 1, address: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	return r, nil
}

func (r *replicas) Count() int { return len(r.all) }

// Leader is the one whose process the lease's holder names: host/pid/nonce.
func (r *replicas) Leader(context.Context) (int, bool) {
	parts := strings.Split(r.holder(), "/")
	if len(parts) < 2 {
		return 0, false
	}
	for i, one := range r.all {
		one.mu.Lock()
		is := one.proc != nil && strconv.Itoa(one.proc.PID()) == parts[len(parts)-2]
		one.mu.Unlock()
		if is {
			return i, true
		}
	}
	return 0, false
}

// Start runs a new process. One that still runs is left alone.
func (r *replicas) Start(i int) error {
	one := r.all[i]
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.proc != nil {
		if gone, _ := one.proc.Exited(); !gone {
			return nil
		}
	}
	one.process++
	path := filepath.Join(r.dir, fmt.Sprintf("relay-%d.%d.log", one.number, one.process))
	log, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make a relay's log: %w", err)
	}
	defer log.Close()
	p, err := r.guard.Start(process.Spec{
		Path: r.binary, Args: []string{"--config", r.config, "run"}, Dir: filepath.Dir(r.config), Output: log,
		Env: append([]string{"PATH=" + os.Getenv("PATH"), "RELAY_HTTP_LISTEN=" + one.address}, r.env...),
	})
	if err != nil {
		return err
	}
	one.proc, one.ours = p, false
	r.note(journal.Action{What: journal.RelayStarts, Replica: one.number, Process: one.process, Detail: strconv.Itoa(p.PID())})
	return nil
}

// Kill ends the process with signal 9.
func (r *replicas) Kill(i int) {
	r.ends(i, func(p *process.Process) { p.Kill() })
}

// Stop asks the process to end, and kills it when it does not.
func (r *replicas) Stop(_ context.Context, i int) error {
	var status syscall.WaitStatus
	r.ends(i, func(p *process.Process) {
		p.End(syscall.SIGTERM, stopPatience)
		_, status = p.Exited()
	})
	if status.Signaled() {
		return fmt.Errorf("replica %d did not stop within %v", i+1, stopPatience)
	}
	return nil
}

func (r *replicas) ends(i int, how func(*process.Process)) {
	one := r.all[i]
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.proc == nil || one.lookGone(r.note) {
		return
	}
	one.ours = true
	how(one.proc)
	_, status := one.proc.Exited()
	r.note(journal.Action{What: journal.RelayEnded, Replica: one.number, Process: one.process, Detail: way(status)})
}

// lookGone says whether the process has ended, and writes it down once when nobody ended it.
func (one *replica) lookGone(note func(journal.Action)) bool {
	gone, status := one.proc.Exited()
	if gone && !one.ours {
		one.ours = true
		note(journal.Action{What: journal.RelayGone, Replica: one.number, Process: one.process, Detail: way(status)})
	}
	return gone
}

// allGone says that no process runs.
func (r *replicas) allGone() bool {
	for _, one := range r.all {
		one.mu.Lock()
		gone, _ := one.proc.Exited()
		one.mu.Unlock()
		if !gone {
			return false
		}
	}
	return true
}

func way(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal: " + status.Signal().String()
	}
	return fmt.Sprintf("exit %d", status.ExitStatus())
}

// Freeze stops the process in its tracks.
func (r *replicas) Freeze(i int) {
	one := r.all[i]
	one.mu.Lock()
	defer one.mu.Unlock()
	one.proc.Freeze()
}

// Thaw ends Freeze.
func (r *replicas) Thaw(i int) {
	one := r.all[i]
	one.mu.Lock()
	defer one.mu.Unlock()
	one.proc.Thaw()
}

// ready asks each relay, and writes down who is not.
func (r *replicas) ready(ctx context.Context, within time.Duration) {
	client := &http.Client{Timeout: 3 * time.Second}
	defer client.CloseIdleConnections()
	deadline := time.Now().Add(within)
	for _, one := range r.all {
		why := askReady(ctx, client, one.address)
		for why != "" && time.Now().Before(deadline) && ctx.Err() == nil {
			pause(ctx, 200*time.Millisecond)
			why = askReady(ctx, client, one.address)
		}
		if why != "" {
			r.note(journal.Action{What: journal.NotReady, Replica: one.number, Detail: why})
		}
	}
}

// askReady gives "" for a relay that is ready.
func askReady(ctx context.Context, client *http.Client, address string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", http.NoBody)
	if err != nil {
		return err.Error()
	}
	answer, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusOK {
		return ""
	}
	var body bytes.Buffer
	_, _ = body.ReadFrom(http.MaxBytesReader(nil, answer.Body, 1000)) // the status says enough
	return answer.Status + " " + body.String()
}
