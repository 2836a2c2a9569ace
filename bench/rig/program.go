package rig

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/process"
)

// Program is a process that the rig has started.
type Program struct {
	*process.Process
	log string
}

func (p *Program) start(r *Rig, path string, args, env []string) error {
	out, err := os.Create(p.log)
	if err != nil {
		return fmt.Errorf("make a log: %w", err)
	}
	defer out.Close()
	p.Process, err = r.guard.Start(process.Spec{
		Path: path, Args: args, Env: append([]string{"PATH=" + os.Getenv("PATH")}, env...), Dir: r.folder.Path, Output: out,
	})
	return err
}

// Alive is an error, with the end of the log, when the process has ended.
func (p *Program) Alive() error {
	if gone, status := p.Exited(); gone {
		return fmt.Errorf("process %d ended by itself (exit %d): %s", p.PID(), status.ExitStatus(), p.tail())
	}
	return nil
}

// Says waits until the log holds a phrase.
func (p *Program) Says(ctx context.Context, phrase string) error {
	for {
		if strings.Contains(p.Output(), phrase) {
			return nil
		}
		if err := p.Alive(); err != nil {
			return err
		}
		if err := Sleep(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("wait for %q: %w: %s", phrase, err, p.tail())
		}
	}
}

// Output is what the process has written so far.
func (p *Program) Output() string {
	text, _ := os.ReadFile(p.log)
	return string(text)
}

func (p *Program) tail() string {
	lines := strings.Split(strings.TrimSpace(p.Output()), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n\t")
}

// Terminate asks for a clean end, and wants one within the patience.
func (p *Program) Terminate(patience time.Duration) error {
	if err := p.Alive(); err != nil {
		return err
	}
	p.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		p.Kill()
		return fmt.Errorf("stop: not within %v: %w: %s", patience, err, p.tail())
	}
	if _, status := p.Exited(); status.ExitStatus() != 0 {
		return fmt.Errorf("stop: exit %d: %s", status.ExitStatus(), p.tail())
	}
	return nil
}

// Sleep waits, or returns ctx's error.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
