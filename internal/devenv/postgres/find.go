package postgres

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ErrNotInstalled says that the machine has no PostgreSQL server binaries.
var ErrNotInstalled = errors.New("no PostgreSQL server binaries (initdb, postgres) on this machine: run `make setup`, " +
	"or install them (Debian: apt-get install postgresql, macOS: brew install postgresql@17) and put them on PATH")

// FindBinaries returns the folder that holds initdb and postgres: the one on PATH, what pg_config says, else the
// newest of the places where Debian and Homebrew put them. errors.Is finds ErrNotInstalled.
func FindBinaries() (string, error) {
	var places []string
	if initdb, err := exec.LookPath("initdb"); err == nil {
		// Through a link to the real folder, where all of the binaries are.
		if file, err := filepath.EvalSymlinks(initdb); err == nil {
			places = append(places, filepath.Dir(file))
		}
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		places = append(places, strings.TrimSpace(string(out)))
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin", "/opt/homebrew/opt/postgresql/bin",
		"/usr/local/opt/postgresql@*/bin", "/usr/local/opt/postgresql/bin",
		"/usr/local/pgsql/bin",
	} {
		found, _ := filepath.Glob(pattern)
		slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
		places = append(places, found...)
	}
	for _, place := range places {
		if executable(filepath.Join(place, "initdb")) && executable(filepath.Join(place, "postgres")) {
			return place, nil
		}
	}
	return "", ErrNotInstalled
}

// version is the number in a path such as /usr/lib/postgresql/15/bin, 0 without one.
func version(path string) int {
	digits := strings.FieldsFunc(path, func(r rune) bool { return r < '0' || r > '9' })
	if len(digits) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(digits[0])
	return n
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
