//go:build faults

package fault

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

type planned struct {
	action string
	pass   int
}

var (
	plan   = parse(os.Getenv("RELAY_FAULT"))
	mu     sync.Mutex
	passes = map[string]int{}
)

func parse(text string) map[string]planned {
	plan := map[string]planned{}
	for item := range strings.SplitSeq(text, ",") {
		point, action, ok := strings.Cut(item, ":")
		if !ok {
			continue
		}
		p := planned{action: action, pass: 1}
		if before, n, ok := strings.Cut(action, "@"); ok {
			p.action = before
			p.pass, _ = strconv.Atoi(n)
		}
		plan[point] = p
	}
	return plan
}

// At marks a point between two steps, and does there what RELAY_FAULT plans. The error is the planned one.
func At(point string) error {
	p, ok := plan[point]
	if !ok {
		return nil
	}
	mu.Lock()
	passes[point]++
	now := passes[point] == p.pass
	mu.Unlock()
	if !now {
		return nil
	}
	fmt.Fprintf(os.Stderr, "fault: %s at %s\n", p.action, point)
	switch p.action {
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "sleep":
		time.Sleep(10 * time.Second)
	case "error":
		return fmt.Errorf("planned fault at %s", point)
	}
	return nil
}
