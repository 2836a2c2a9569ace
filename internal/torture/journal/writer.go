package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// syncEvery is how often a Writer that is not strict syncs.
const syncEvery = 500 * time.Millisecond

// Writer appends lines of JSON to one file. Safe for concurrent use.
type Writer struct {
	mu     sync.Mutex
	file   *os.File
	strict bool
	synced time.Time
	err    error // the first
}

// Create makes the file of this name in the folder. A strict one is synced after each line.
func Create(dir, name string, strict bool) (*Writer, error) {
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("make journal %s: %w", name, err)
	}
	return &Writer{file: file, strict: strict}, nil
}

// Append writes one line. An error is kept for Close: a run whose journal has a gap proves nothing.
func (w *Writer) Append(line any) {
	text, err := json.Marshal(line)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil && w.err == nil {
		_, err = w.file.Write(append(text, '\n'))
	}
	if err == nil && (w.strict || time.Since(w.synced) > syncEvery) {
		err = w.file.Sync()
		w.synced = time.Now()
	}
	if w.err == nil {
		w.err = err
	}
}

// Close syncs the file, and gives the first error there was.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := errors.Join(w.err, w.file.Sync(), w.file.Close())
	if err != nil {
		return fmt.Errorf("write journal %s: %w", filepath.Base(w.file.Name()), err)
	}
	return nil
}

// Read gives all lines of a journal. A file that is not there has none; a last line that was cut off is left out.
func Read[T any](dir, name string) (lines []T, err error) {
	file, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	defer file.Close()
	for text := bufio.NewReaderSize(file, 1<<20); ; {
		one, err := text.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read journal %s: %w", name, err)
		}
		var line T
		if err := json.Unmarshal(one, &line); err != nil {
			return nil, fmt.Errorf("read journal %s, line %d: %w", name, len(lines)+1, err)
		}
		lines = append(lines, line)
	}
}

// Now is the time of a line that is written now.
func Now() int64 { return time.Now().UnixMicro() }

// Time is a line's time.
func Time(at int64) time.Time { return time.UnixMicro(at).UTC() }
