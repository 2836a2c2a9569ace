package kafka

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/maven"
	"github.com/outboxrelay/relay/internal/devenv/process"
)

const (
	prefix       = "outbox-relay-kafka-"
	startTimeout = 3 * time.Minute
	startTries   = 3
)

// Options of a cluster.
type Options struct {
	Nodes      int               // 1 or 3; 0 is 1
	Dir        string            // where the data lives and stays; "" is a temporary folder that Stop removes
	HeapMB     int               // of each node; 0 is 256. From 1024 on the JVM compiles for throughput
	Properties map[string]string // server.properties of every node; they win over the defaults here
	Listeners  []Listener        // beside the plain one
	JavaFlags  []string          // of the nodes, for what Kafka takes as a system property only
	Log        io.Writer         // gets the nodes' logs at Stop, or a line when Kafka is downloaded; nil: nobody

	// Scram is the users whose passwords Kafka checks by SCRAM-SHA-256 and SCRAM-SHA-512, with their passwords. They
	// are written when a node's folder is made; a password that is changed later is changed by a client.
	Scram map[string]string

	// Advertise is asked for each node, before it starts, for the address that the plain listener tells clients to
	// come to: a proxy's. It gets the node, counted from 0, and where that will listen; it is asked again when the
	// port turned out to be taken. nil: clients come directly. Nodes always talk to one another directly.
	Advertise func(node int, address string) (string, error)
}

// Listener is one more way to every node. Brokers of a name is its address list.
type Listener struct {
	Name     string // letters and digits, such as TLS
	Protocol string // PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL; Options.Properties hold what it needs

	// Advertise is what Options.Advertise is for the plain listener.
	Advertise func(node int, address string) (string, error)
}

// Cluster is a running Kafka. Nodes are counted from 0, as Brokers lists them. Its methods are safe from many
// goroutines as long as each node has one user at a time.
type Cluster struct {
	id     string
	java   string
	jars   string
	opts   Options
	folder *process.Folder
	guard  *process.Guard
	nodes  []*node
}

// Start runs a cluster and returns when all nodes answer and know one another: about 5 s for one, 11 s for three,
// on two cores. ctx bounds it, and three minutes do. Errors carry the last lines of the node's log; errors.Is finds
// ErrNotInstalled and process.ErrInUse.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	c, err := open(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	// Somebody may have taken a port between the look for it and the start; then the node ends at once.
	for try := 1; ; try++ {
		err = c.begin(ctx)
		if err == nil {
			return c, nil
		}
		if try == startTries || ctx.Err() != nil || !strings.Contains(err.Error(), "Address already in use") {
			c.Stop()
			return nil, fmt.Errorf("start Kafka: %w", err)
		}
		for _, n := range c.nodes {
			n.kill()
		}
	}
}

func open(ctx context.Context, opts Options) (*Cluster, error) {
	if opts.Nodes == 0 {
		opts.Nodes = 1
	}
	if opts.Nodes != 1 && opts.Nodes != 3 {
		return nil, fmt.Errorf("%d nodes: a cluster here has 1 or 3", opts.Nodes)
	}
	if opts.HeapMB == 0 {
		opts.HeapMB = 256
	}
	java, err := maven.Java()
	if err != nil {
		return nil, err
	}
	jars, err := Jars(ctx, opts.Log)
	if err != nil {
		return nil, err
	}
	folder, err := process.OpenFolder(opts.Dir, prefix)
	if err != nil {
		return nil, err
	}
	c := &Cluster{java: java, jars: jars, opts: opts, folder: folder}
	c.id, err = clusterID(folder.Path)
	if err == nil {
		// A JVM answers other signals in its own time.
		c.guard, err = process.NewGuard(folder, syscall.SIGKILL)
	}
	if err != nil {
		folder.Release()
		return nil, err
	}
	for i := range opts.Nodes {
		c.nodes = append(c.nodes, &node{cluster: c, number: i + 1, dir: filepath.Join(folder.Path, "node-"+strconv.Itoa(i+1))})
	}
	return c, nil
}

// clusterID is random, and kept in the folder with the data that it marks.
func clusterID(folder string) (string, error) {
	path := filepath.Join(folder, "cluster.id")
	kept, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(kept)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the cluster's id: %w", err)
	}
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	random[0] &= 0x3f           // Kafka's tools take a leading dash for an option
	id := base64.RawURLEncoding.EncodeToString(random[:])
	if err := os.WriteFile(path, []byte(id+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("keep the cluster's id: %w", err)
	}
	return id, nil
}

// begin finds ports, formats what is not formatted and starts the nodes, side by side.
func (c *Cluster) begin(ctx context.Context) error {
	if err := c.takePorts(); err != nil {
		return err
	}
	var formats []*process.Process
	for _, n := range c.nodes {
		p, err := n.format()
		if err != nil {
			return err
		}
		if p != nil {
			formats = append(formats, p)
		}
	}
	for i, p := range formats {
		if err := p.Wait(ctx); err != nil {
			p.Kill()
			return fmt.Errorf("format node %d: %w", i+1, err)
		}
		if _, status := p.Exited(); status.ExitStatus() != 0 {
			return fmt.Errorf("format node %d: exit %d:\n\t%s", i+1, status.ExitStatus(), c.nodes[i].lastLines())
		}
	}
	for _, n := range c.nodes {
		if err := n.launch(); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		if err := n.ready(ctx, func(d description) bool { return len(d.ports) == len(c.nodes) }); err != nil {
			return err
		}
	}
	return nil
}

// takePorts finds a free port for each listener of each node.
func (c *Cluster) takePorts() error {
	taken := map[int]bool{}
	for i, n := range c.nodes {
		n.ports = map[string]int{}
		for _, name := range n.listeners() {
			for n.ports[name] == 0 {
				free, err := process.FreePort()
				if err != nil {
					return err
				}
				if !taken[free] {
					taken[free], n.ports[name] = true, free
				}
			}
		}
		if err := c.advertise(i, n); err != nil {
			return fmt.Errorf("ask what address node %d has for clients: %w", i, err)
		}
	}
	return nil
}

// advertise asks for the addresses that a node's listeners tell clients to come to.
func (c *Cluster) advertise(i int, n *node) (err error) {
	n.advertised = map[string]string{}
	for _, l := range append(c.opts.Listeners[:len(c.opts.Listeners):len(c.opts.Listeners)],
		Listener{Name: internal}, Listener{Name: plain, Advertise: c.opts.Advertise}) {
		n.advertised[l.Name] = n.address(l.Name)
		if l.Advertise == nil {
			continue
		}
		if n.advertised[l.Name], err = l.Advertise(i, n.address(l.Name)); err != nil {
			return err
		}
	}
	return nil
}

// Brokers is the address list for a client without encryption or a name, one host:port a node. It leads through the
// proxies when Options.Advertise has put some before the nodes.
func (c *Cluster) Brokers() []string { return c.BrokersOf(plain) }

// Direct is the same without the proxies: a client that begins here stays on a listener of its own.
func (c *Cluster) Direct() []string { return c.BrokersOf(internal) }

// BrokersOf is the address list of one of Options.Listeners, through the proxies that its Advertise has put there.
func (c *Cluster) BrokersOf(listener string) []string {
	var list []string
	for _, n := range c.nodes {
		list = append(list, n.advertised[listener])
	}
	return list
}

// Stop ends all nodes and removes a temporary folder; a named one keeps every record that was acked. Safe twice.
func (c *Cluster) Stop() {
	for _, n := range c.nodes {
		// Not cleanly: the last nodes of three would wait minutes for a quorum that is gone, and Kafka recovers
		// from signal 9 at its next start.
		n.kill()
		if c.opts.Log != nil {
			text, _ := os.ReadFile(n.logPath())
			_, _ = c.opts.Log.Write(text) // a log nobody can take is no reason to keep a server
		}
	}
	c.opts.Log = nil
	c.guard.Close()
}

// StopNode ends a node cleanly: it hands its partitions over and closes its log.
func (c *Cluster) StopNode(i int) { c.nodes[i].stop() }

// KillNode ends a node with signal 9.
func (c *Cluster) KillNode(i int) { c.nodes[i].kill() }

// FreezeNode stops a node in its tracks: its connections stay open and it does not answer.
func (c *Cluster) FreezeNode(i int) { c.nodes[i].proc.Freeze() }

// ThawNode ends FreezeNode.
func (c *Cluster) ThawNode(i int) { c.nodes[i].proc.Thaw() }

// StartNode starts a stopped or killed node on its ports and returns when it answers and the cluster has taken it
// back. Of three nodes two make a quorum: when two are down, start them side by side.
func (c *Cluster) StartNode(ctx context.Context, i int) error {
	n := c.nodes[i]
	if gone, _ := n.proc.Exited(); !gone {
		return fmt.Errorf("start Kafka node %d: it runs", i)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := n.launch()
	if err == nil {
		err = n.ready(ctx, n.listed)
	}
	if err != nil {
		return fmt.Errorf("start Kafka node %d: %w", i, err)
	}
	return nil
}

// PID of a node's process.
func (c *Cluster) PID(i int) int { return c.nodes[i].proc.PID() }
