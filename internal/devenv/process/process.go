package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Spec says what to run. Path and Args must name the guard's folder somewhere, so that an orphan can be recognized.
type Spec struct {
	Path   string
	Args   []string
	Env    []string // nil is this program's
	Dir    string
	User   *User    // nil is this program's
	Output *os.File // stdout and stderr; a file, so that no goroutine has to copy
}

// Process is one running server. Its methods are safe from many goroutines.
type Process struct {
	pid   int
	guard *Guard

	mu     sync.Mutex // held while signaling: a number is not signaled after it was reaped
	gone   bool
	status syscall.WaitStatus
	frozen []int
}

// Start runs a program under the guard, in its own process group.
func (g *Guard) Start(spec Spec) (*Process, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Path, err)
	}
	defer read.Close()
	defer write.Close()
	// The shell becomes the program when it is told so, and leaves when this program is gone before that.
	args := append([]string{"-c", `read -r go && exec "$@" </dev/null`, "sh", spec.Path}, spec.Args...)
	cmd := exec.Command("/bin/sh", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = read, spec.Output, spec.Output
	cmd.Dir, cmd.Env = spec.Dir, spec.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if spec.User != nil {
		cmd.SysProcAttr.Credential = spec.User.credential()
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Path, err)
	}
	p := &Process{pid: cmd.Process.Pid, guard: g}
	// From here on the process is reaped by number, without a goroutine that waits for it.
	_ = cmd.Process.Release()
	err = errors.Join(remember(g.folder.Path, p.pid), g.tell("run", p.pid))
	if err == nil {
		_, err = write.WriteString("go\n")
	}
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("start %s: %w", spec.Path, err)
	}
	return p, nil
}

// PID of the process.
func (p *Process) PID() int { return p.pid }

// Exited says whether the process has ended, and how.
func (p *Process) Exited() (bool, syscall.WaitStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reap(), p.status
}

func (p *Process) reap() bool {
	if p.gone {
		return true
	}
	for {
		pid, err := syscall.Wait4(p.pid, &p.status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if pid != p.pid && err == nil {
			return false
		}
		p.gone = true
		_ = p.guard.tell("gone", p.pid) // a closed guard has ended it already
		return true
	}
}

// Signal sends a signal; a process that is gone gets none.
func (p *Process) Signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reap() {
		_ = syscall.Kill(p.pid, s)
	}
}

// Wait waits until the process is gone, or ctx ends.
func (p *Process) Wait(ctx context.Context) error {
	for {
		if gone, _ := p.Exited(); gone {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for process %d to end: %w", p.pid, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// End sends a signal and waits; after the patience is over it kills.
func (p *Process) End(s syscall.Signal, patience time.Duration) {
	p.Thaw()
	p.Signal(s)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if p.Wait(ctx) != nil {
		p.Kill()
	}
}

// Kill ends the process and its children with signal 9, as a power cut would, and waits until the process is gone.
func (p *Process) Kill() {
	p.mu.Lock()
	if !p.reap() {
		killTree(p.pid)
	}
	p.mu.Unlock()
	_ = p.Wait(context.Background()) // signal 9 is never refused
	p.Thaw()
}

// Freeze stops the process and its children as if the machine hung: connections stay open and nothing answers.
func (p *Process) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reap() || len(p.frozen) > 0 {
		return
	}
	p.frozen = stopTree(p.pid)
	for _, pid := range p.frozen {
		_ = p.guard.tell("frozen", pid)
	}
}

// Thaw lets a frozen process go on. Safe when it is not frozen.
func (p *Process) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pid := range p.frozen {
		_ = syscall.Kill(pid, syscall.SIGCONT)
		_ = p.guard.tell("thawed", pid)
	}
	p.frozen = nil
}
