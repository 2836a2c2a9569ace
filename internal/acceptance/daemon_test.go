//go:build linux

package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/process"
)

// daemon is one process of the relay. The guard ends it when this program ends; the end of the test does too.
type daemon struct {
	*process.Process
	t   testing.TB
	log string
}

// launch runs the binary with these arguments and nothing in its environment beside PATH and env. Its output goes to a
// file; a failed test shows the end of it.
func launch(t testing.TB, binary string, args []string, env ...string) *daemon {
	t.Helper()
	dir := t.TempDir()
	d := &daemon{t: t, log: filepath.Join(dir, "log")}
	out := must(os.Create(d.log))(t)
	defer out.Close()
	d.Process = must(shared.guard.Start(process.Spec{
		Path: binary, Args: args, Env: append([]string{"PATH=" + os.Getenv("PATH")}, env...), Dir: dir, Output: out,
	}))(t)
	t.Cleanup(func() {
		d.Kill()
		if t.Failed() {
			text, _ := os.ReadFile(d.log)
			t.Logf("process %d, the end of its log:\n%s", d.PID(), text[max(0, len(text)-8000):])
		}
	})
	return d
}

// line is a line of the log.
type line struct {
	Time    time.Time `json:"time"`
	Level   string    `json:"level"`
	Message string    `json:"message"`
	Wake    string    `json:"wake"`
	text    string
}

// lines gives the log so far. What is not one of the relay's lines (a panic, the race detector's report) fails the test.
func (d *daemon) lines() []line {
	d.t.Helper()
	text := must(os.ReadFile(d.log))(d.t)
	text = text[:bytes.LastIndexByte(text, '\n')+1] // the last line may be half written
	var all []line
	for one := range strings.Lines(string(text)) {
		l := line{text: strings.TrimSpace(one)}
		if err := json.Unmarshal([]byte(one), &l); err != nil {
			d.t.Fatalf("not a line of the log: %s", one)
		}
		all = append(all, l)
	}
	return all
}

// said gives the lines with this phrase.
func (d *daemon) said(phrase string) (found []line) {
	d.t.Helper()
	for _, l := range d.lines() {
		if l.Message == phrase {
			found = append(found, l)
		}
	}
	return found
}

// saysSoon waits for a phrase, and gives its first line.
func (d *daemon) saysSoon(phrase string, limit time.Duration) line {
	d.t.Helper()
	eventually(d.t, fmt.Sprintf("the relay says %q", phrase), limit, func() bool {
		d.runs()
		return len(d.said(phrase)) > 0
	})
	return d.said(phrase)[0]
}

// runs fails the test when the process has ended.
func (d *daemon) runs() {
	d.t.Helper()
	if gone, status := d.Exited(); gone {
		how := fmt.Sprintf("exit %d", status.ExitStatus())
		if status.Signaled() {
			how = "signal: " + status.Signal().String()
		}
		d.t.Fatalf("process %d ended by itself: %s", d.PID(), how)
	}
}

// ends waits for the end of the process and gives its exit code; -1 when a signal ended it.
func (d *daemon) ends(limit time.Duration) int {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := d.Wait(ctx); err != nil {
		d.t.Fatalf("not within %v: %v", limit, err)
	}
	_, status := d.Exited()
	return status.ExitStatus()
}

// stop asks the daemon to stop and wants a clean end.
func (d *daemon) stop(limit time.Duration) {
	d.t.Helper()
	d.Signal(syscall.SIGTERM)
	if code := d.ends(limit); code != 0 {
		d.t.Errorf("exit %d after SIGTERM, want 0", code)
	}
}

// showLog prints what a person on call would have read.
func (d *daemon) showLog(title string) {
	d.t.Helper()
	var b strings.Builder
	for _, l := range d.lines() {
		b.WriteString("\n\t" + l.text)
	}
	d.t.Logf("%s: %s", title, b.String())
}
