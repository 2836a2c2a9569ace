package postgres

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/outboxrelay/relay/internal/devenv/process"
)

// Upgrade does to the server what pg_upgrade does between two versions, here to the same one: a new cluster, with an
// identifier of its own, takes over the files of the old. It returns when connections are taken again, on the same port.
func (s *Server) Upgrade(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(syscall.SIGINT)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	old := s.data + ".old"
	if err := os.Rename(s.data, old); err != nil {
		return fmt.Errorf("upgrade PostgreSQL: %w", err)
	}
	if err := s.remake(ctx, old); err != nil {
		return fmt.Errorf("upgrade PostgreSQL: %w%s", err, s.lastLines())
	}
	if err := os.RemoveAll(old); err != nil {
		return fmt.Errorf("upgrade PostgreSQL: %w", err)
	}
	return s.again(ctx)
}

func (s *Server) remake(ctx context.Context, old string) error {
	if err := s.own(s.data); err != nil {
		return err
	}
	if err := s.fill(ctx); err != nil {
		return err
	}
	port := strconv.Itoa(s.port)
	p, err := s.guard.Start(process.Spec{
		Path: filepath.Join(s.bin, "pg_upgrade"),
		Args: []string{"-b", s.bin, "-B", s.bin, "-d", old, "-D", s.data, "-U", "postgres", "-s", s.socket, "-p", port, "-P", port},
		Dir:  s.socket, Env: s.env(), User: s.account, Output: s.log, // its folder: the old versions write their reports there
	})
	if err != nil {
		return err
	}
	if err := p.Wait(ctx); err != nil {
		p.Kill()
		return err
	}
	if _, status := p.Exited(); status.ExitStatus() != 0 {
		return fmt.Errorf("pg_upgrade: exit %d", status.ExitStatus())
	}
	return nil
}
