package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// ballastName is the file that fills a disk.
const ballastName = "ballast"

// CanMakeDisks says why this program cannot give a server a disk of its own, nil when it can.
func CanMakeDisks() error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return errors.New("a disk of its own needs root on Linux (mount -t tmpfs)")
	}
	trial, err := os.MkdirTemp("", prefix+"disk-")
	if err != nil {
		return fmt.Errorf("try to mount a disk: %w", err)
	}
	err = mountDisk(trial, 1, 0, 0)
	if err == nil {
		err = exec.Command("umount", trial).Run()
	}
	return errors.Join(err, os.Remove(trial))
}

// mount gives the server the disks that the options ask for, before anything is in the folder. The guard unmounts them.
func (s *Server) mount(opts Options) error {
	if opts.DiskMB == 0 && opts.WALDiskMB == 0 {
		return nil
	}
	if opts.Dir != "" {
		return errors.New("a disk of its own is temporary: it needs Options.Dir to be empty")
	}
	if err := CanMakeDisks(); err != nil {
		return err
	}
	uid, gid := os.Geteuid(), os.Getegid()
	if s.account != nil {
		uid, gid = s.account.UID, s.account.GID
	}
	for _, one := range []struct {
		name string
		mb   int
		at   *string
	}{{"disk", opts.DiskMB, &s.disk}, {"waldisk", opts.WALDiskMB, &s.walDisk}} {
		if one.mb == 0 {
			continue
		}
		*one.at = filepath.Join(s.folder.Path, one.name)
		if err := os.Mkdir(*one.at, 0o700); err != nil {
			return fmt.Errorf("make a mount point: %w", err)
		}
		if err := mountDisk(*one.at, one.mb, uid, gid); err != nil {
			return err
		}
	}
	if s.disk != "" {
		s.data = filepath.Join(s.disk, "data")
	}
	return nil
}

func mountDisk(at string, mb, uid, gid int) error {
	options := fmt.Sprintf("size=%dm,mode=0700,uid=%d,gid=%d", mb, uid, gid)
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "outbox-relay", at).CombinedOutput(); err != nil {
		return fmt.Errorf("mount a disk of %d MB: %w: %s", mb, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// FillDisk takes all the room that is left on the disk of Options.DiskMB, until free gives it back. What the server
// has reserved already (write-ahead log, pages in its tables) it can still use.
func (s *Server) FillDisk() (free func(), err error) { return fillDisk(s.disk) }

// FillWALDisk is FillDisk for the disk of Options.WALDiskMB. A PostgreSQL that needs room there and finds none ends.
func (s *Server) FillWALDisk() (free func(), err error) { return fillDisk(s.walDisk) }

func fillDisk(at string) (free func(), err error) {
	if at == "" {
		return nil, errors.New("fill the disk: the server has no disk of its own")
	}
	path := filepath.Join(at, ballastName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("fill the disk: %w", err)
	}
	defer f.Close()
	chunk := make([]byte, 1<<20)
	for len(chunk) > 0 {
		if _, err := f.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			chunk = chunk[:len(chunk)/2]
		} else if err != nil {
			return nil, errors.Join(fmt.Errorf("fill the disk: %w", err), os.Remove(path))
		}
	}
	return func() { _ = os.Remove(path) }, nil // gone with the disk at the latest
}
