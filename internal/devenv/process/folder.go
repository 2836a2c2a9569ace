package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	lockName = "owner.lock"
	pidsName = "pids"
)

// ErrInUse is what OpenFolder's error is when another living program works in the folder.
var ErrInUse = errors.New("another program is using it")

// Folder is a working folder that belongs to one living program, proven by a file lock that the system gives back
// when its holders are gone.
type Folder struct {
	Path      string
	lock      *os.File
	temporary []string // removed by the guard
}

// OpenFolder makes dir the caller's own, or makes a temporary folder when dir is "". Folders of the same prefix
// that dead programs left in the temporary directory are removed first, and what still runs in them is ended.
// errors.Is finds ErrInUse.
func OpenFolder(dir, prefix string) (*Folder, error) {
	sweep(prefix)
	if dir == "" {
		path, err := os.MkdirTemp("", prefix)
		if err != nil {
			return nil, fmt.Errorf("make a temporary folder: %w", err)
		}
		f, err := own(path)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(path))
		}
		f.temporary = []string{path}
		return f, nil
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find folder %s: %w", dir, err)
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	f, err := reown(path)
	if errors.Is(err, os.ErrNotExist) {
		f, err = own(path)
	}
	if err != nil {
		return nil, fmt.Errorf("work in folder %s: %w", path, err)
	}
	endOrphans(path)
	return f, nil
}

// AddTemporary has one more folder removed at the end. Call it before NewGuard.
func (f *Folder) AddTemporary(path string) { f.temporary = append(f.temporary, path) }

// Release gives the folder back without a guard; temporary ones are removed. After NewGuard the guard does it.
func (f *Folder) Release() {
	for _, path := range f.temporary {
		unmountBelow(path)
		_ = os.RemoveAll(path) // what stays is swept by the next start
	}
	f.lock.Close()
}

// own makes the lock file. It gets its name only when it is locked: a sweeper never sees it free.
func own(path string) (*Folder, error) {
	lock, err := os.CreateTemp(path, lockName+".")
	if err != nil {
		return nil, fmt.Errorf("make the lock file: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := os.Rename(lock.Name(), filepath.Join(path, lockName)); err != nil {
		lock.Close()
		return nil, fmt.Errorf("name the lock file: %w", err)
	}
	return &Folder{Path: path, lock: lock}, nil
}

// reown takes the lock of a folder that has had an owner.
func reown(path string) (*Folder, error) {
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, ErrInUse
	}
	return &Folder{Path: path, lock: lock}, nil
}

// sweep removes the temporary folders of programs that are gone. It touches only folders whose lock file belongs to
// this user; one without a lock file is just being made, unless it is old.
func sweep(prefix string) {
	paths, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() {
			continue
		}
		f, err := reown(path)
		if errors.Is(err, os.ErrNotExist) && mine(info) && time.Since(info.ModTime()) > time.Minute {
			_ = os.RemoveAll(path)
		}
		if err != nil {
			continue
		}
		if info, err := f.lock.Stat(); err == nil && mine(info) {
			endOrphans(path)
			unmountBelow(path)
			_ = os.RemoveAll(path) // not ours to complain about; the next start tries again
		}
		f.lock.Close()
	}
}

func mine(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// remember notes a process in the folder, so that a later owner can end it if nobody else could.
func remember(path string, pid int) error {
	f, err := os.OpenFile(filepath.Join(path, pidsName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("note process %d: %w", pid, err)
	}
	_, err = fmt.Fprintln(f, pid)
	return errors.Join(err, f.Close())
}

// endOrphans kills what an earlier owner left running. A number is believed only if that process names the folder
// in its arguments: numbers are used again.
func endOrphans(path string) {
	text, _ := os.ReadFile(filepath.Join(path, pidsName))
	for _, word := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(word)
		if err != nil || pid <= 1 || !strings.Contains(arguments(pid), path) {
			continue
		}
		killTree(pid)
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if arguments(pid) == "" {
				break
			}
		}
	}
	_ = os.Remove(filepath.Join(path, pidsName))
}
