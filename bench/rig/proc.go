package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc: USER_HZ, 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// CPU is what a process has used so far, in user and kernel mode; 0 when it is gone.
func CPU(pid int) time.Duration { return ticks(stat(pid), 14, 15) }

// CPUWithChildren is what a process, its children, and those of its children that have ended have used: for a
// postmaster, all of that PostgreSQL.
func CPUWithChildren(pid int) time.Duration {
	sum := ticks(stat(pid), 14, 15, 16, 17)
	for child, fields := range processes() {
		if parent(fields) == pid && child != pid {
			sum += ticks(fields, 14, 15, 16, 17)
		}
	}
	return sum
}

// PeakMiB is the most memory that a process ever had resident (VmHWM); 0 when it is gone.
func PeakMiB(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for row := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(row, "VmHWM:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(value)[0])
			return float64(kb) / 1024
		}
	}
	return 0
}

// Load is a reading of what the machine has spent since it started, in all and on this program and what it started.
type Load struct{ total, busy, ours time.Duration }

// ReadLoad reads it.
func ReadLoad() (Load, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Load{}, fmt.Errorf("read what the machine spends its time on (the benchmark needs Linux): %w", err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(first) // cpu user nice system idle iowait irq softirq steal …
	if len(fields) < 9 {
		return Load{}, fmt.Errorf("read what the machine spends its time on: %d fields in the first line of /proc/stat", len(fields))
	}
	var l Load
	for i, field := range fields[1:9] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return Load{}, fmt.Errorf("read what the machine spends its time on: %w", err)
		}
		l.total += time.Duration(n) * tick
		if i != 3 && i != 4 { // idle, iowait
			l.busy += time.Duration(n) * tick
		}
	}
	l.ours = family(os.Getpid())
	return l, nil
}

// Others is the share of the machine, 0 to 1, that went to processes that are not ours and to steal since before.
func (l Load) Others(before Load) float64 {
	total := l.total - before.total
	if total <= 0 {
		return 0
	}
	return max(0, float64((l.busy-before.busy)-(l.ours-before.ours))/float64(total))
}

// family is what a process and all that descend from it have used.
func family(root int) (sum time.Duration) {
	all := processes()
	for pid, fields := range all {
		for at, hops := pid, 0; at > 1 && hops < 50; at, hops = parent(all[at]), hops+1 {
			if at == root {
				sum += ticks(fields, 14, 15, 16, 17)
				break
			}
		}
	}
	return sum
}

func processes() map[int][]string {
	all := map[int][]string{}
	paths, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range paths {
		pid, _ := strconv.Atoi(filepath.Base(path))
		if fields := stat(pid); fields != nil {
			all[pid] = fields
		}
	}
	return all
}

// stat gives the fields of /proc/PID/stat from the third on (state, ppid, …); nil when the process is gone.
func stat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	// "4711 (name) S 4710 …": the name may hold anything, so count from its last bracket.
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}

func parent(fields []string) int {
	if len(fields) < 2 {
		return 0
	}
	pid, _ := strconv.Atoi(fields[1])
	return pid
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
