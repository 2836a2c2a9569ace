package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/bench/figures"
	"github.com/outboxrelay/relay/bench/rig"
)

// describe says what the figures were taken on. Nothing of it names the machine.
func describe(ctx context.Context, r *rig.Rig, relay string, connect bool) (figures.Machine, map[string]string, error) {
	m := figures.Machine{
		CPU: afterColon("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(),
		Kernel: first(os.ReadFile("/proc/sys/kernel/osrelease")),
	}
	kb, _ := strconv.ParseFloat(strings.TrimSuffix(afterColon("/proc/meminfo", "MemTotal"), " kB"), 64)
	m.MemoryGiB = float64(int(kb/1024/1024*10)) / 10
	versions := map[string]string{"Kafka": "4.3.1", "Go": runtime.Version()}
	if connect {
		versions["Debezium"], versions["Kafka Connect"] = "3.6.0.Final", "4.3.1"
	}
	versions["relay"] = first(exec.CommandContext(ctx, relay, "version").Output())
	if java, err := exec.CommandContext(ctx, "java", "-version").CombinedOutput(); err == nil {
		versions["Java"] = first(java, nil)
	}
	c, err := pgx.Connect(ctx, r.Postgres.URL("postgres"))
	if err != nil {
		return m, nil, fmt.Errorf("ask PostgreSQL for its version: %w", err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	var version string
	if err := c.QueryRow(ctx, "show server_version").Scan(&version); err != nil {
		return m, nil, fmt.Errorf("ask PostgreSQL for its version: %w", err)
	}
	versions["PostgreSQL"], _, _ = strings.Cut(version, " ")
	return m, versions, nil
}

func afterColon(path, name string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// first line of what could be read; "" when it could not.
func first(text []byte, err error) string {
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return line
}
