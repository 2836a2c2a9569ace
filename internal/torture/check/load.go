package check

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

// Book is all that a run has written down.
type Book struct {
	Run         journal.Run
	Actions     []journal.Action
	Ledger      []journal.Ledger
	Witness     []journal.Witness
	Concurrent  []journal.Record
	Fresh       []journal.Record
	Uncommitted []journal.Record
	Samples     []journal.Sample
	Usage       []journal.Usage
	Logs        []Log
}

// Log is what one process of a relay has written.
type Log struct {
	Replica, Process int
	Text             []byte
}

// Load reads a run's folder.
func Load(dir string) (*Book, error) {
	run, err := journal.ReadRun(dir)
	if err != nil {
		return nil, err
	}
	b := &Book{Run: run}
	err = errors.Join(
		load(dir, journal.ActionsFile, &b.Actions), load(dir, journal.LedgerFile, &b.Ledger),
		load(dir, journal.WitnessFile, &b.Witness), load(dir, journal.ConcurrentFile, &b.Concurrent),
		load(dir, journal.FreshFile, &b.Fresh), load(dir, journal.UncommittedFile, &b.Uncommitted),
		load(dir, journal.SamplesFile, &b.Samples), load(dir, journal.UsageFile, &b.Usage))
	if err != nil {
		return nil, err
	}
	if err := b.loadLogs(dir); err != nil {
		return nil, err
	}
	return b, nil
}

func load[T any](dir, name string, into *[]T) (err error) {
	*into, err = journal.Read[T](dir, name)
	return err
}

func (b *Book) loadLogs(dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "relay-*.log"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		var l Log
		if _, err := fmt.Sscanf(filepath.Base(path), "relay-%d.%d.log", &l.Replica, &l.Process); err != nil {
			continue // not one of ours
		}
		if l.Text, err = os.ReadFile(path); err != nil {
			return fmt.Errorf("read a relay's log: %w", err)
		}
		b.Logs = append(b.Logs, l)
	}
	return nil
}
