package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// stopTree freezes a process and its children and returns all of them, the process first. The process goes first:
// frozen, it makes no more children.
func stopTree(pid int) []int {
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	all := []int{pid}
	for _, child := range children(pid) {
		_ = syscall.Kill(child, syscall.SIGSTOP)
		all = append(all, child)
	}
	return all
}

func killTree(pid int) {
	all := stopTree(pid)
	for i := len(all) - 1; i >= 0; i-- {
		_ = syscall.Kill(all[i], syscall.SIGKILL)
	}
}

// children of a process, from /proc where there is one, else from ps. A child may be in a session of its own
// (PostgreSQL's are), so that its process group does not find it.
func children(pid int) []int {
	var found []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// "4711 (name) S 4710 …": the name may hold anything, so count from its last bracket.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			found = append(found, child)
		}
	}
	if len(stats) > 0 {
		return found
	}
	table, _ := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	for line := range strings.Lines(string(table)) {
		var child, parent int
		if n, _ := fmt.Sscan(line, &child, &parent); n == 2 && parent == pid {
			found = append(found, child)
		}
	}
	return found
}

// arguments of a process, or "" when it is gone.
func arguments(pid int) string {
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
		return string(text)
	}
	if _, err := os.Stat("/proc/self"); err == nil {
		return ""
	}
	text, _ := exec.Command("ps", "-o", "args=", "-p", strconv.Itoa(pid)).Output()
	return string(text)
}
