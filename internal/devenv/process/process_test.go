package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const roleVariable = "PROCESS_TEST_ROLE"

// TestMain lets this binary play the program that dies: the tests start it again and kill it.
func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
	case "ports":
		playPorts()
	default:
		playOwner(role)
	}
	goleak.VerifyTestMain(m)
}

// playOwner starts a server with a child in a session of its own, prints what it made, and waits to be killed.
func playOwner(role string) {
	folder, err := OpenFolder("", testPrefix)
	if err != nil {
		panic(err)
	}
	guard, err := NewGuard(folder, syscall.SIGTERM)
	if err != nil {
		panic(err)
	}
	p, child := startServer(guard, folder.Path)
	if role == "frozen" {
		p.Freeze()
	}
	fmt.Printf("%d %d %d %s\n", guard.PID(), p.PID(), child, folder.Path)
	if role == "exit" {
		os.Exit(0)
	}
	select {}
}

const testPrefix = "outbox-relay-test-"

// startServer runs a shell that starts a child of its own, as a server does, and waits until both are there. The
// child leaves when the server asks it to, so a frozen child keeps both alive.
func startServer(guard *Guard, folder string) (*Process, int) {
	out, err := os.Create(filepath.Join(folder, "child"))
	if err != nil {
		panic(err)
	}
	defer out.Close()
	// A session of its own where the system has the command, as PostgreSQL's backends have: the kernel does not wake
	// a frozen child then when its parent dies. The kernel hangs up on a
	// stopped group that is orphaned, which must not end the server before it is asked to end; it sleeps in a loop
	// because a shell that is frozen just before "wait" may miss the signal there.
	script := `$(command -v setsid) sleep 1000 & child=$!; trap '' HUP; trap 'kill $child; exit' TERM; echo $child; while :; do sleep 0.05; done`
	p, err := guard.Start(Spec{Path: "/bin/sh", Args: []string{"-c", script, folder}, Output: out})
	if err != nil {
		panic(err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		text, _ := os.ReadFile(out.Name())
		var child int
		if n, _ := fmt.Sscan(string(text), &child); n == 1 {
			return p, child
		}
	}
	panic("the server's child did not come")
}

type owner struct {
	cmd                  *exec.Cmd
	guard, server, child int
	folder               string
}

func startOwner(t *testing.T, role string) owner {
	t.Helper()
	o := owner{cmd: exec.Command(os.Args[0])}
	o.cmd.Env = append(os.Environ(), roleVariable+"="+role)
	o.cmd.Stderr = os.Stderr
	out, err := o.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the owner said nothing: %v", err)
	}
	if _, err := fmt.Sscan(line, &o.guard, &o.server, &o.child, &o.folder); err != nil {
		t.Fatalf("the owner said %q: %v", line, err)
	}
	return o
}

func running(pid int) bool {
	// A zombie is gone as far as anybody can see; who reaps it is the machine's affair.
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil {
		return !strings.Contains(string(state), ") Z ")
	}
	return syscall.Kill(pid, 0) == nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func eventually(t *testing.T, what string, claim func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if claim() {
			return
		}
	}
	t.Fatalf("not within 15 s: %s", what)
}

func TestGuard_NothingSurvivesTheProgram(t *testing.T) {
	for _, role := range []string{"killed", "exit", "frozen"} {
		t.Run(role, func(t *testing.T) {
			o := startOwner(t, role)
			if role != "exit" {
				if !running(o.server) || !running(o.child) || !exists(o.folder) {
					t.Fatal("nothing runs before the program is killed")
				}
				_ = o.cmd.Process.Kill()
			}
			_ = o.cmd.Wait()
			eventually(t, "the server, its child and its guard end, the folder goes", func() bool {
				return !running(o.server) && !running(o.child) && !running(o.guard) && !exists(o.folder)
			})
		})
	}
}

func TestOpenFolder_EndsWhatAKilledGuardLeft(t *testing.T) {
	o := startOwner(t, "killed")
	_ = syscall.Kill(o.guard, syscall.SIGKILL)
	_ = o.cmd.Process.Kill()
	_ = o.cmd.Wait()
	if !running(o.server) || !exists(o.folder) {
		t.Fatal("the server ended although nobody was left to end it: this test shows nothing")
	}
	eventually(t, "the next start ends the server and removes the folder", func() bool {
		f, err := OpenFolder("", testPrefix)
		if err != nil {
			t.Fatal(err)
		}
		f.Release()
		return !running(o.server) && !running(o.child) && !exists(o.folder)
	})
}

func TestOpenFolder_LeavesTheLivingAlone(t *testing.T) {
	o := startOwner(t, "killed")
	f, err := OpenFolder("", testPrefix)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	if !running(o.server) || !exists(o.folder) {
		t.Error("a living program's folder was swept")
	}
	if _, err := OpenFolder(o.folder, testPrefix); !errors.Is(err, ErrInUse) {
		t.Errorf("open a living program's folder: %v, want ErrInUse", err)
	}
	_ = o.cmd.Process.Kill()
	_ = o.cmd.Wait()
	eventually(t, "the guard cleans up", func() bool { return !exists(o.folder) && !running(o.server) })
}

func TestOpenFolder_DoesNotTrustANumberThatIsSomebodyElses(t *testing.T) {
	folder := t.TempDir()
	stranger := exec.Command("sleep", "1000")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Process.Kill(); _ = stranger.Wait() }()
	if err := remember(folder, stranger.Process.Pid); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFolder(folder, testPrefix)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	if !running(stranger.Process.Pid) {
		t.Error("a process was killed because its number was once a server's")
	}
}

func TestProcess_FreezeKillAndEnd(t *testing.T) {
	folder, err := OpenFolder("", testPrefix)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := NewGuard(folder, syscall.SIGTERM)
	if err != nil {
		t.Fatal(err)
	}
	defer guard.Close()

	p, child := startServer(guard, folder.Path)
	p.Freeze()
	for _, pid := range []int{p.PID(), child} {
		eventually(t, "the process and its child are stopped", func() bool { return state(t, pid) == "T" })
	}
	p.Thaw()
	eventually(t, "they go on", func() bool { return state(t, p.PID()) == "S" && state(t, child) == "S" })
	p.Kill()
	eventually(t, "both are dead", func() bool { return !running(p.PID()) && !running(child) })

	p, child = startServer(guard, folder.Path)
	p.End(syscall.SIGTERM, 10*time.Second)
	if gone, status := p.Exited(); !gone || status.Signaled() {
		t.Errorf("End: gone %v, status %v, want a clean end", gone, status)
	}
	eventually(t, "the child follows", func() bool { return !running(child) })

	guard.Close()
	if exists(folder.Path) || running(guard.PID()) {
		t.Error("Close left the folder or the guard")
	}
	if _, err := guard.Start(Spec{Path: "/bin/true"}); err == nil {
		t.Error("a closed guard starts processes")
	}
}

func TestProcess_WaitSaysHowItEnded(t *testing.T) {
	folder, err := OpenFolder("", testPrefix)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := NewGuard(folder, syscall.SIGTERM)
	if err != nil {
		t.Fatal(err)
	}
	defer guard.Close()
	p, err := guard.Start(Spec{Path: "/bin/sh", Args: []string{"-c", "exit 7"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, status := p.Exited(); status.ExitStatus() != 7 {
		t.Errorf("exit %d, want 7", status.ExitStatus())
	}
	p, err = guard.Start(Spec{Path: "/bin/sleep", Args: []string{"1000"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait on a process that runs: %v, want the deadline", err)
	}
	p.Kill()
}

// manyPorts is enough to see it: unreserved, about six would meet within a program,
// and thirteen between two.
const manyPorts = 400

// playPorts takes ports, prints them, and keeps them until its input ends.
func playPorts() {
	for range manyPorts {
		port, err := FreePort()
		if err != nil {
			panic(err)
		}
		fmt.Println(port)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// TestFreePort_IsNobodyElses: a server that is down for a moment must find its port again, and its clients must not
// meet the server of another test there.
func TestFreePort_IsNobodyElses(t *testing.T) {
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), roleVariable+"=ports")
	stop, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	taken := map[int]string{}
	lines := bufio.NewScanner(out)
	for range manyPorts {
		lines.Scan()
		port, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		taken[port] = "another program"
	}
	for range manyPorts {
		port, err := FreePort()
		if err != nil || port < 20000 || port >= 32000 {
			t.Fatalf("port %d, %v", port, err)
		}
		if owner := taken[port]; owner != "" {
			t.Errorf("port %d belongs to %s already", port, owner)
		}
		taken[port] = "this program"
	}
	stop.Close()
	if err := other.Wait(); err != nil {
		t.Error(err)
	}
}

// state is the letter Linux gives: S sleeping, T stopped. Elsewhere the test has nothing to look at.
func state(t *testing.T, pid int) string {
	t.Helper()
	if !exists("/proc/self/stat") {
		t.Skip("no /proc on this system")
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))[0]
}
