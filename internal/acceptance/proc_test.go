//go:build linux

package acceptance

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ, 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// stat gives the fields of /proc/PID/stat from the third on (state, ppid, …); nil when the process is gone.
func stat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	// "4711 (name) S 4710 …": the name may hold anything, so count from its last bracket.
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}

// ticks sums fields of stat, counted as proc(5) counts them.
func ticks(fields []string, numbers ...int) (sum time.Duration) {
	for _, n := range numbers {
		if i := n - 3; i < len(fields) {
			v, _ := strconv.Atoi(fields[i])
			sum += time.Duration(v) * tick
		}
	}
	return sum
}

// cpu is what a process has used: utime and stime.
func cpu(pid int) time.Duration { return ticks(stat(pid), 14, 15) }

// cpuWithChildren is what a process, its children, and those of its children that have ended have used: for a
// postmaster, all of that PostgreSQL.
func cpuWithChildren(pid int) time.Duration {
	sum := ticks(stat(pid), 14, 15, 16, 17)
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if fields := stat(child); len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			sum += ticks(fields, 14, 15, 16, 17)
		}
	}
	return sum
}

// cpuOfBrokers is what the brokers that this program has started use.
func cpuOfBrokers() (sum time.Duration) {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		arguments, _ := os.ReadFile(path)
		fields := stat(pid)
		if strings.Contains(string(arguments), "\x00kafka.Kafka\x00") && len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			sum += ticks(fields, 14, 15)
		}
	}
	return sum
}

// memory is a line of /proc/PID/status in MiB: VmRSS, what is resident, or VmHWM, the most that ever was.
func memory(t testing.TB, pid int, name string) float64 {
	t.Helper()
	text := must(os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)))(t)
	for row := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(row, name+":"); ok {
			kb := must(strconv.Atoi(strings.Fields(value)[0]))(t)
			return float64(kb) / 1024
		}
	}
	t.Fatalf("no %s in the status of process %d", name, pid)
	return 0
}

// under gives the processes that have anything to do with a folder: their arguments or their environment name it, or
// they work in it.
func under(folder string) (found []string) {
	paths, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range paths {
		arguments, _ := os.ReadFile(filepath.Join(path, "cmdline"))
		environment, _ := os.ReadFile(filepath.Join(path, "environ"))
		place, _ := os.Readlink(filepath.Join(path, "cwd"))
		if strings.Contains(string(arguments)+string(environment)+place, folder) {
			found = append(found, filepath.Base(path)+" "+strings.ReplaceAll(string(arguments), "\x00", " "))
		}
	}
	return found
}
