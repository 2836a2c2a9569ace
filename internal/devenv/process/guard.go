package process

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

//go:embed guard.sh
var guardScript string

// Guard ends processes and removes folders when this program ends. Its methods are safe from many goroutines.
type Guard struct {
	mu     sync.Mutex
	pipe   *os.File // the only write end; nil after Close
	cmd    *exec.Cmd
	folder *Folder
}

// NewGuard starts the guard of a folder and takes the folder over: Close, or the end of this program, releases it
// and removes it when it is temporary. The signal is the first one a server gets when the program is gone; five
// seconds later it is killed.
func NewGuard(folder *Folder, signal syscall.Signal) (*Guard, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make the guard's pipe: %w", err)
	}
	defer read.Close()
	args := append([]string{"-c", guardScript, "guard", signalName(signal)}, folder.temporary...)
	cmd := exec.Command("/bin/sh", args...)
	cmd.Stdin = read
	cmd.Dir = "/"
	// The guard shares the folder's lock: as long as it is cleaning up, nobody else finds the folder abandoned.
	cmd.ExtraFiles = []*os.File{folder.lock}
	// Its own session: the terminal's Ctrl-C is for the program, not for the guard.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		write.Close()
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	return &Guard{pipe: write, cmd: cmd, folder: folder}, nil
}

// PID of the guard itself.
func (g *Guard) PID() int { return g.cmd.Process.Pid }

// Close ends what still runs, waits for that, removes temporary folders and releases the folder. Safe twice.
func (g *Guard) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pipe == nil {
		return
	}
	g.pipe.Close()
	g.pipe = nil
	_ = g.cmd.Wait() // its exit code is rm's; what could not be removed is removed by the next start
	g.folder.Release()
}

func (g *Guard) tell(word string, pid int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pipe == nil {
		return fmt.Errorf("tell the guard of process %d: it is closed", pid)
	}
	if _, err := fmt.Fprintf(g.pipe, "%s %d\n", word, pid); err != nil {
		return fmt.Errorf("tell the guard of process %d: %w", pid, err)
	}
	return nil
}

func signalName(s syscall.Signal) string {
	switch s {
	case syscall.SIGQUIT:
		return "QUIT"
	case syscall.SIGTERM:
		return "TERM"
	default:
		return "KILL"
	}
}
