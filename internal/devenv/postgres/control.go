package postgres

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/process"
)

// launch runs the postmaster and waits until it takes connections.
func (s *Server) launch(ctx context.Context) error {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(s.port),
		"unix_socket_directories": s.socket,
		"unix_socket_permissions": "0700",
		"logging_collector":       "off",
	}
	for name, value := range s.settings {
		settings[name] = value
	}
	args := []string{"-D", s.data}
	for _, name := range sorted(settings) {
		args = append(args, "-c", name+"="+settings[name])
	}
	p, err := s.guard.Start(process.Spec{
		Path: filepath.Join(s.bin, "postgres"), Args: args, Dir: "/", Env: s.env(), User: s.account, Output: s.log,
	})
	if err != nil {
		return err
	}
	s.proc = p
	for {
		// Line 1 is the postmaster's number, line 8 its state: the server that is ready is the one started here.
		if now := pidFile(s.data); len(now) >= 8 && now[0] == strconv.Itoa(p.PID()) && now[7] == "ready" {
			return nil
		}
		if gone, status := p.Exited(); gone {
			return fmt.Errorf("PostgreSQL ended before it was ready (exit %d)", status.ExitStatus())
		}
		select {
		case <-ctx.Done():
			p.End(syscall.SIGQUIT, 5*time.Second)
			return fmt.Errorf("wait for PostgreSQL to be ready: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Stop ends the server (connections are cut) and removes a temporary folder. Safe twice.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		s.end(syscall.SIGINT)
		s.removeSharedMemory()
	}
	if s.logTo != nil && s.log != nil {
		text, _ := os.ReadFile(s.log.Name())
		_, _ = s.logTo.Write(text) // a log nobody can take is no reason to keep a server
		s.logTo = nil
	}
	s.guard.Close()
	s.log.Close()
}

func (s *Server) end(how syscall.Signal) {
	s.proc.End(how, 20*time.Second)
}

// Restart ends the server and starts it again on the same port. Mode "fast" rolls back what is open and writes a
// checkpoint; "immediate" leaves recovery to the start. It returns when connections are taken again.
func (s *Server) Restart(ctx context.Context, mode string) error {
	how, ok := map[string]syscall.Signal{"fast": syscall.SIGINT, "immediate": syscall.SIGQUIT}[mode]
	if !ok {
		return fmt.Errorf("restart PostgreSQL: mode %q is neither fast nor immediate", mode)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(how)
	return s.again(ctx)
}

// Kill ends the postmaster and its backends with signal 9, as a power cut does. The port stays this server's.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc.Kill()
}

// StartAgain starts a server that was killed, on the same port, and returns when recovery is done.
func (s *Server) StartAgain(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if gone, _ := s.proc.Exited(); !gone {
		return fmt.Errorf("start PostgreSQL again: process %d still runs", s.proc.PID())
	}
	return s.again(ctx)
}

func (s *Server) again(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := s.launch(ctx)
		if err == nil {
			return nil
		}
		// A backend that was killed with its postmaster, or was just being forked, takes a moment to let go of the memory.
		if ctx.Err() != nil || !strings.Contains(s.lastLines(), "pre-existing shared memory block") {
			return fmt.Errorf("start PostgreSQL again: %w%s", err, s.lastLines())
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Freeze stops the server and its backends in their tracks: connections stay open and nobody answers.
func (s *Server) Freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc.Freeze()
}

// Thaw ends Freeze.
func (s *Server) Thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc.Thaw()
}

// pidFile is postmaster.pid, a line each, without spaces at the ends; nil when there is none.
func pidFile(data string) []string {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return nil
	}
	lines := strings.Split(string(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}

func sorted(settings map[string]string) []string {
	names := make([]string, 0, len(settings))
	for name := range settings {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
