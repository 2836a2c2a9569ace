package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// terminal opens a pair of a terminal and what a person would sit at.
func terminal(t *testing.T) (person, tty *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("this machine gives no terminals: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	var number, unlock uint32
	for request, argument := range map[uintptr]*uint32{syscall.TIOCGPTN: &number, syscall.TIOCSPTLCK: &unlock} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, person.Fd(), request, uintptr(unsafe.Pointer(argument))); errno != 0 {
			t.Fatal(errno)
		}
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return person, tty
}

func TestParkedVerbs_AskOnATerminal(t *testing.T) {
	env, conn := database(t)
	parkSome(t, conn)
	cases := []struct {
		answer string
		args   []string
		code   int
		out    string
		left   string
	}{
		{"\n", []string{"drop", "--state", "held"}, exitFailed, "1 parked event of outbox main:\n           1 held for payments\n", "6"},
		{"no\n", []string{"drop", "--state", "held"}, exitFailed, "1 parked event of outbox main:\n           1 held for payments\n", "6"},
		{"Y\n", []string{"drop", "--state", "held"}, exitDone, "1 parked event of outbox main:\n           1 held for payments\ndropped 1 event\n", "5"},
		{"yes\n", []string{"drop", parkedID(1), "--json"}, exitDone, "{", "4"},
	}
	for _, c := range cases {
		person, tty := terminal(t)
		if _, err := person.WriteString(c.answer); err != nil {
			t.Fatal(err)
		}
		var out, errors bytes.Buffer
		code := Main(t.Context(), append([]string{"parked"}, c.args...), env, tty, &out, &errors)
		if code != c.code || !strings.HasPrefix(out.String(), c.out) || !strings.Contains(errors.String(), "never be delivered. [y/N]") {
			t.Errorf("%v answered %q: code %d\n%s\n%s", c.args, c.answer, code, out.String(), errors.String())
		}
		if left := query(t, conn, `select count(*)::text from outbox.parked`); left != c.left {
			t.Errorf("%v answered %q: %s events left", c.args, c.answer, left)
		}
	}
}

// shared is a buffer that one goroutine writes and another reads.
type shared struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *shared) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *shared) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *shared) waitFor(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(b.String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q in %q", text, b.String())
		}
	}
}

// A yes is about what was counted before the question.
func TestParkedDrop_LeavesWhatIsParkedAfterTheQuestion(t *testing.T) {
	env, conn := database(t)
	parkSome(t, conn)
	person, tty := terminal(t)
	var out, errors shared
	done := make(chan int, 1)
	go func() {
		done <- Main(t.Context(), []string{"parked", "drop", "--topic", "orders"}, env, tty, &out, &errors)
	}()
	errors.waitFor(t, "[y/N]")
	park(t, conn, 6, "dead", "orders", "42", "parked meanwhile")
	if _, err := person.WriteString("y\n"); err != nil {
		t.Fatal(err)
	}
	if code := <-done; code != exitDone || !strings.Contains(out.String(), "dropped 4 events") {
		t.Errorf("code %d: %s %s", code, out.String(), errors.String())
	}
	if got := query(t, conn, parkedStatesSQL); got != "3 held, 6 dead, 9 dead" {
		t.Errorf("left: %s", got)
	}
}

func TestParkedDrop_CtrlCAtTheQuestionEnds(t *testing.T) {
	env, conn := database(t)
	parkSome(t, conn)
	_, tty := terminal(t)
	ctx, interrupt := context.WithCancel(t.Context())
	var out, errors shared
	done := make(chan int, 1)
	go func() { done <- Main(ctx, []string{"parked", "drop", "--all"}, env, tty, &out, &errors) }()
	errors.waitFor(t, "[y/N]")
	interrupt()
	if code := <-done; code != exitFailed {
		t.Errorf("code %d", code)
	}
	if got := query(t, conn, `select count(*)::text from outbox.parked`); got != "6" {
		t.Errorf("%s events left", got)
	}
}
