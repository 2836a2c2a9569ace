//go:build linux

package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDev_LeavesNothing(t *testing.T) {
	binary := setUp(t)
	for name, how := range map[string]struct {
		args []string
		end  syscall.Signal // 0: by itself
		code int
	}{
		"ten events": {args: []string{"dev", "--events", "10"}},
		"ctrl-c":     {args: []string{"dev"}, end: syscall.SIGINT},
		"kill -9":    {args: []string{"dev"}, end: syscall.SIGKILL, code: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := passable(t) // in the arguments, environment or working directory of all that relay dev starts
			began := time.Now()
			d := launch(t, binary, how.args, "TMPDIR="+folder, "NO_COLOR=1")
			shown := func() []string {
				text, _ := os.ReadFile(d.log)
				var lines []string
				for l := range strings.Lines(string(text)) {
					if strings.Contains(l, "inserted → orders[") && strings.Contains(l, " ms") {
						lines = append(lines, l)
					}
				}
				return lines
			}
			eventually(t, "an event is shown", time.Minute, func() bool { d.runs(); return len(shown()) > 0 })
			first := time.Since(began)
			if len(under(folder)) < 3 {
				t.Errorf("the processes of relay dev are not found by their folder: %q", under(folder))
			}
			if how.end != 0 {
				d.Signal(how.end)
			}
			if code := d.ends(time.Minute); code != how.code {
				t.Errorf("exit %d, want %d", code, how.code)
			}
			t.Logf("the first event after %.1f s, the end after %.1f s", first.Seconds(), time.Since(began).Seconds())
			if n := len(shown()); how.end == 0 && n != 10 {
				t.Errorf("%d events were shown, want 10", n)
			}
			gone := func() bool { return len(under(folder))+len(entries(folder)) == 0 }
			if how.end == syscall.SIGKILL {
				eventually(t, "what a killed relay dev has started is gone", 15*time.Second, gone)
			}
			if !gone() {
				t.Errorf("left: processes %q, files %q", under(folder), entries(folder))
			}
		})
	}
}

// passable gives a temporary folder that root's unprivileged PostgreSQL may work in, as /tmp is.
func passable(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, path := range []string{filepath.Dir(folder), folder} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func entries(folder string) (paths []string) {
	paths, _ = filepath.Glob(filepath.Join(folder, "*"))
	hidden, _ := filepath.Glob(filepath.Join(folder, ".*"))
	return append(paths, hidden...)
}
