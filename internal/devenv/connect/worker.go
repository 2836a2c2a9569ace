package connect

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/maven"
	"github.com/outboxrelay/relay/internal/devenv/process"
)

const (
	prefix       = "outbox-relay-connect-"
	startTimeout = 3 * time.Minute
)

// Options of a worker.
type Options struct {
	Brokers    []string          // of the Kafka that it writes to and keeps its state in
	Group      string            // names its state, so one a worker; "" is "connect"
	HeapMB     int               // 0 is 256, which is for tests; Connect's own default is 2048
	Properties map[string]string // of the worker; they win over the defaults here
	Log        io.Writer         // gets a line when the jars are downloaded; nil: nobody
}

// Worker is a running worker. Its methods are safe from many goroutines.
type Worker struct {
	url    string
	pid    int
	log    string
	folder *process.Folder
	guard  *process.Guard
	proc   *process.Process
	client *http.Client
}

// Start runs a worker and returns when it takes connectors, after about six seconds on two cores. ctx bounds it, and
// three minutes do. Errors carry the last lines of the worker's log; errors.Is finds maven.ErrNotInstalled.
func Start(ctx context.Context, opts Options) (*Worker, error) {
	java, err := maven.Java()
	if err != nil {
		return nil, fmt.Errorf("start Kafka Connect: %w", err)
	}
	jars, err := Jars(ctx, opts.Log)
	if err != nil {
		return nil, fmt.Errorf("start Kafka Connect: %w", err)
	}
	folder, err := process.OpenFolder("", prefix)
	if err != nil {
		return nil, fmt.Errorf("start Kafka Connect: %w", err)
	}
	w := &Worker{folder: folder, log: filepath.Join(folder.Path, "connect.log"), client: &http.Client{Timeout: 90 * time.Second}}
	// A JVM answers other signals in its own time.
	if w.guard, err = process.NewGuard(folder, syscall.SIGKILL); err != nil {
		folder.Release()
		return nil, fmt.Errorf("start Kafka Connect: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err = w.launch(java, jars, opts)
	if err == nil {
		err = w.ready(ctx)
	}
	if err != nil {
		err = fmt.Errorf("start Kafka Connect: %w%s", err, w.lastLines())
		w.Stop()
		return nil, err
	}
	return w, nil
}

func (w *Worker) launch(java, jars string, opts Options) error {
	port, err := process.FreePort()
	if err != nil {
		return err
	}
	w.url = fmt.Sprintf("http://127.0.0.1:%d", port)
	config := filepath.Join(w.folder.Path, "worker.properties")
	if err := os.WriteFile(config, []byte(opts.text(w.url, filepath.Join(jars, plugins))), 0o600); err != nil {
		return fmt.Errorf("write the worker's configuration: %w", err)
	}
	log, err := os.OpenFile(w.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the worker's log: %w", err)
	}
	defer log.Close()
	heap := strconv.Itoa(max(opts.HeapMB, 256))
	flags := []string{"-Xms256m", "-Xmx" + heap + "m", "-XX:-UsePerfData", "-Djava.io.tmpdir=" + w.folder.Path,
		"-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"}
	if opts.HeapMB == 0 {
		// Start fast rather than run fast.
		flags = append(flags, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
	}
	w.proc, err = w.guard.Start(process.Spec{
		Path: java, Dir: w.folder.Path, Output: log,
		Args: append(flags, "-cp", filepath.Join(jars, "*"), "org.apache.kafka.connect.cli.ConnectDistributed", config),
	})
	if err != nil {
		return err
	}
	w.pid = w.proc.PID()
	return nil
}

// text is the worker's configuration: one partition and one replica for its own state, and strings as they are.
func (o Options) text(url, plugins string) string {
	group := o.Group
	if group == "" {
		group = "connect"
	}
	p := map[string]string{
		"bootstrap.servers":                 strings.Join(o.Brokers, ","),
		"group.id":                          group,
		"listeners":                         url,
		"plugin.path":                       plugins,
		"plugin.discovery":                  "service_load",
		"key.converter":                     "org.apache.kafka.connect.storage.StringConverter",
		"value.converter":                   "org.apache.kafka.connect.storage.StringConverter",
		"config.storage.topic":              group + "-configs",
		"offset.storage.topic":              group + "-offsets",
		"status.storage.topic":              group + "-status",
		"config.storage.replication.factor": "1",
		"offset.storage.replication.factor": "1",
		"status.storage.replication.factor": "1",
		"offset.storage.partitions":         "1",
		"status.storage.partitions":         "1",
		// A worker alone has nobody to wait for.
		"scheduled.rebalance.max.delay.ms": "0",
	}
	maps.Copy(p, o.Properties)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&text, "%s=%s\n", name, p[name])
	}
	return text.String()
}

// ready waits until the worker answers questions about connectors: before that it has not read its own state.
func (w *Worker) ready(ctx context.Context) error {
	for {
		var names []string
		last := w.call(ctx, http.MethodGet, "/connectors", nil, &names)
		if last == nil {
			return nil
		}
		if err := w.Alive(); err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("wait for the worker: %w (%w)", err, last)
		}
	}
}

// PID of the worker.
func (w *Worker) PID() int { return w.pid }

// Alive is an error when the worker has ended by itself.
func (w *Worker) Alive() error {
	if gone, status := w.proc.Exited(); gone {
		return fmt.Errorf("the worker ended by itself (exit %d)%s", status.ExitStatus(), w.lastLines())
	}
	return nil
}

// Stop ends the worker with signal 9 and removes its folder: what it owes Kafka, its successor does. Safe twice.
func (w *Worker) Stop() {
	if w.proc != nil {
		w.proc.Kill()
	}
	w.client.CloseIdleConnections()
	w.guard.Close()
}

func (w *Worker) lastLines() string {
	text, err := os.ReadFile(w.log)
	if err != nil || len(text) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "\n\t" + strings.Join(lines[max(0, len(lines)-12):], "\n\t")
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}
