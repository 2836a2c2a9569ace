package kafka

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/process"
)

// node is one Kafka process: broker and controller.
type node struct {
	cluster    *Cluster
	number     int // node.id, from 1
	dir        string
	ports      map[string]int    // by listener
	advertised map[string]string // by listener, where its clients come to
	proc       *process.Process  // nil before the first start
}

// The listeners that every node has.
const (
	plain      = "PLAINTEXT"  // clients
	internal   = "INTERNAL"   // brokers, and clients that pass no proxy
	controller = "CONTROLLER" // the quorum
)

func (n *node) listeners() []string {
	names := []string{plain, internal, controller}
	for _, l := range n.cluster.opts.Listeners {
		names = append(names, l.Name)
	}
	return names
}

func (n *node) address(listener string) string { return fmt.Sprintf("127.0.0.1:%d", n.ports[listener]) }

func (n *node) configPath() string { return filepath.Join(n.dir, "server.properties") }
func (n *node) logPath() string    { return filepath.Join(n.dir, "kafka.log") }
func (n *node) dataPath() string   { return filepath.Join(n.dir, "data") }

// properties is the node's server.properties: one topic partition for what Kafka keeps about itself, no waiting for
// more consumers, and buffers that fit a small heap.
func (n *node) properties() map[string]string {
	var voters []string
	for _, other := range n.cluster.nodes {
		voters = append(voters, fmt.Sprintf("%d@%s", other.number, other.address(controller)))
	}
	var listeners, advertised []string
	for _, name := range n.listeners() {
		listeners = append(listeners, name+"://"+n.address(name))
		if name != controller {
			advertised = append(advertised, name+"://"+n.advertised[name])
		}
	}
	protocols := []string{plain + ":PLAINTEXT", internal + ":PLAINTEXT", controller + ":PLAINTEXT"}
	for _, l := range n.cluster.opts.Listeners {
		protocols = append(protocols, l.Name+":"+l.Protocol)
	}
	replicas, inSync := "1", "1"
	if len(n.cluster.nodes) == 3 {
		replicas, inSync = "3", "2"
	}
	p := map[string]string{
		"process.roles":                            "broker,controller",
		"node.id":                                  strconv.Itoa(n.number),
		"controller.quorum.voters":                 strings.Join(voters, ","),
		"listeners":                                strings.Join(listeners, ","),
		"advertised.listeners":                     strings.Join(advertised, ","),
		"listener.security.protocol.map":           strings.Join(protocols, ","),
		"controller.listener.names":                controller,
		"inter.broker.listener.name":               internal,
		"log.dirs":                                 n.dataPath(),
		"num.partitions":                           "4",
		"auto.create.topics.enable":                "false",
		"default.replication.factor":               replicas,
		"min.insync.replicas":                      inSync,
		"offsets.topic.num.partitions":             "1",
		"offsets.topic.replication.factor":         replicas,
		"transaction.state.log.num.partitions":     "1",
		"transaction.state.log.replication.factor": replicas,
		"transaction.state.log.min.isr":            inSync,
		"group.initial.rebalance.delay.ms":         "0",
		// The default of 128 MB does not fit.
		"log.cleaner.dedupe.buffer.size": "4194304",
		// A broken transaction holds up readers until Kafka looks for it; the default looks every 10 s.
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
	}
	maps.Copy(p, n.cluster.opts.Properties)
	return p
}

func (n *node) writeConfig() error {
	properties := n.properties()
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		fmt.Fprintf(&text, "%s=%s\n", name, properties[name])
	}
	return os.WriteFile(n.configPath(), []byte(text.String()), 0o600)
}

// run starts a Java program of Kafka's on this node's configuration.
func (n *node) run(class string, args ...string) (*process.Process, error) {
	log, err := os.OpenFile(n.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the node's log: %w", err)
	}
	defer log.Close()
	heap := strconv.Itoa(n.cluster.opts.HeapMB)
	flags := []string{
		"-Xms" + heap + "m", "-Xmx" + heap + "m", "-Xss512k",
		// Neither a file in the system's temporary directory for monitors, nor native libraries unpacked there.
		"-XX:-UsePerfData", "-Djava.io.tmpdir=" + n.dir,
		"-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
	}
	if n.cluster.opts.HeapMB < 1024 {
		// Start fast rather than run fast.
		flags = append(flags, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:ActiveProcessorCount=2")
	}
	flags = append(flags, n.cluster.opts.JavaFlags...)
	flags = append(flags, "-cp", filepath.Join(n.cluster.jars, "*"), class)
	return n.cluster.guard.Start(process.Spec{
		Path: n.cluster.java, Args: append(flags, args...), Dir: n.dir, Output: log,
	})
}

// format prepares an empty data folder; nil when that is done already.
func (n *node) format() (*process.Process, error) {
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the node's folder: %w", err)
	}
	if err := n.writeConfig(); err != nil {
		return nil, fmt.Errorf("write the node's configuration: %w", err)
	}
	if _, err := os.Stat(filepath.Join(n.dataPath(), "meta.properties")); err == nil {
		return nil, nil
	}
	args := []string{"format", "--ignore-formatted", "-t", n.cluster.id, "-c", n.configPath()}
	for _, user := range slices.Sorted(maps.Keys(n.cluster.opts.Scram)) {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%q,password=%q]", mechanism, user, n.cluster.opts.Scram[user]))
		}
	}
	return n.run("kafka.tools.StorageTool", args...)
}

func (n *node) launch() error {
	p, err := n.run("kafka.Kafka", n.configPath())
	if err != nil {
		return err
	}
	n.proc = p
	return nil
}

// ready waits until the node answers for this very cluster and what it says is enough.
func (n *node) ready(ctx context.Context, enough func(description) bool) error {
	for {
		var last error
		d, err := describe(ctx, n.address(plain))
		switch {
		case err != nil:
			last = err
		case d.clusterID != n.cluster.id:
			last = fmt.Errorf("another cluster answers at %s", n.address(plain))
		case enough(d):
			return nil
		default:
			last = fmt.Errorf("it knows %d brokers", len(d.ports))
		}
		if gone, status := n.proc.Exited(); gone {
			return fmt.Errorf("node %d ended before it was ready (exit %d):\n\t%s", n.number, status.ExitStatus(), n.lastLines())
		}
		select {
		case <-ctx.Done():
			n.kill()
			return fmt.Errorf("wait for node %d: %w (%w):\n\t%s", n.number, ctx.Err(), last, n.lastLines())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// listed says whether the cluster has taken the node back. What is told is where clients are to go.
func (n *node) listed(d description) bool {
	_, port, _ := strings.Cut(n.advertised[plain], ":")
	return slices.ContainsFunc(d.ports, func(p int32) bool { return strconv.Itoa(int(p)) == port })
}

func (n *node) stop() { n.proc.End(syscall.SIGTERM, 30*time.Second) }

func (n *node) kill() {
	if n.proc != nil {
		n.proc.Kill()
	}
}

func (n *node) lastLines() string {
	text, _ := os.ReadFile(n.logPath())
	// Stack traces would push out the sentence that says what is wrong.
	var sentences []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "\tat ") {
			sentences = append(sentences, line)
		}
	}
	return lastLines(strings.Join(sentences, ""), 12)
}
