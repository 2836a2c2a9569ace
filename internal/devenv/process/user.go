package process

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// User is the account a server runs as.
type User struct {
	Name     string
	UID, GID int
}

// Unprivileged returns the account a server that refuses root runs as: nil when this program is not root, else the
// first of the names that exists on the machine.
func Unprivileged(names ...string) (*User, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range names {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errU := strconv.Atoi(account.Uid)
		gid, errG := strconv.Atoi(account.Gid)
		if err := errors.Join(errU, errG); err != nil {
			return nil, fmt.Errorf("read the account %s: %w", name, err)
		}
		return &User{Name: name, UID: uid, GID: gid}, nil
	}
	return nil, fmt.Errorf("running as root, and none of the accounts %q exists to drop to: run as another user", names)
}

// LetThrough makes sure that the account can reach path. Folders of this program's user inside the temporary
// directory or /tmp are opened for passing through (chmod o+x); of any other folder that bars the way the error says
// which it is, because opening it is its owner's decision.
func (u *User) LetThrough(path string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("look at the way: %w", err)
	}
	for folder := filepath.Dir(path); ; folder = filepath.Dir(folder) {
		info, err := os.Stat(folder)
		if err != nil {
			return fmt.Errorf("look at the way to %s: %w", path, err)
		}
		if !u.mayPass(info) {
			if !mine(info) || !temporary(folder) {
				return fmt.Errorf("the account %q, to which root is dropped, may not pass through %s: choose another "+
					"folder, or run `chmod o+x %s`", u.Name, folder, folder)
			}
			if err := os.Chmod(folder, info.Mode().Perm()|0o001); err != nil {
				return fmt.Errorf("let %q pass through: %w", u.Name, err)
			}
		}
		if folder == filepath.Dir(folder) {
			return nil
		}
	}
}

// temporary says whether what is in the folder is there for a while only.
func temporary(folder string) bool {
	for _, place := range []string{os.TempDir(), "/tmp"} {
		if place, err := filepath.EvalSymlinks(place); err == nil && strings.HasPrefix(folder+"/", place+"/") {
			return true
		}
	}
	return false
}

func (u *User) mayPass(folder os.FileInfo) bool {
	stat, ok := folder.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	switch {
	case int(stat.Uid) == u.UID:
		return folder.Mode()&0o100 != 0
	case int(stat.Gid) == u.GID:
		return folder.Mode()&0o010 != 0
	default:
		return folder.Mode()&0o001 != 0
	}
}

func (u *User) credential() *syscall.Credential {
	return &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}
}
