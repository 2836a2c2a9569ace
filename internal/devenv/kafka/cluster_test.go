package kafka

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

const roleVariable = "KAFKA_TEST_ROLE"

// TestMain lets this binary play a program that is killed while its cluster runs.
func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) != "" {
		c, err := Start(context.Background(), Options{})
		if err != nil {
			panic(err)
		}
		fmt.Printf("%d %s\n", c.nodes[0].proc.PID(), c.folder.Path)
		select {}
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, opts Options) *Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real Apache Kafka, which -short leaves out")
	}
	c, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

func client(t *testing.T, c *Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	k, err := kgo.NewClient(append(opts, kgo.SeedBrokers(c.Brokers()...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

func createTopic(t *testing.T, k *kgo.Client, name string, replicas int16) {
	t.Helper()
	r, err := kadm.NewClient(k).CreateTopic(t.Context(), 2, replicas, nil, name)
	if err := errors.Join(err, r.Err); err != nil {
		t.Fatal(err)
	}
}

func produce(t *testing.T, k *kgo.Client, topic, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := k.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
		t.Fatalf("produce %q: %v", value, err)
	}
}

func consume(t *testing.T, c *Cluster, topic string, want int) []string {
	t.Helper()
	k := client(t, c, kgo.ConsumeTopics(topic), kgo.DisableFetchSessions(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []string
	for len(got) < want && ctx.Err() == nil {
		k.PollFetches(ctx).EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	return got
}

func TestCluster_OneNodeStoresAndComesBackOnItsPort(t *testing.T) {
	c := ForTest(t)
	k := client(t, c)
	createTopic(t, k, "events", 1)
	produce(t, k, "events", "before")
	brokers := fmt.Sprint(c.Brokers())

	c.KillNode(0)
	if err := c.StartNode(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	produce(t, k, "events", "between")
	c.StopNode(0)
	if err := c.StartNode(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	produce(t, k, "events", "after")

	if got := fmt.Sprint(c.Brokers()); got != brokers {
		t.Errorf("brokers %s, were %s", got, brokers)
	}
	if got := consume(t, c, "events", 3); len(got) != 3 {
		t.Errorf("records %q, want three", got)
	}
	if err := c.StartNode(t.Context(), 0); err == nil {
		t.Error("a running node was started")
	}
	unknown, err := kadm.NewClient(k).ListTopics(t.Context(), "unknown")
	if err != nil || unknown["unknown"].Err == nil {
		t.Errorf("a topic nobody created came into being: %v, %v", unknown, err)
	}
}

func TestCluster_ThreeNodesOutliveTheLossOfOne(t *testing.T) {
	dir := t.TempDir()
	c := start(t, Options{Nodes: 3, Dir: dir})
	if len(c.Brokers()) != 3 {
		t.Fatalf("brokers %v", c.Brokers())
	}
	k := client(t, c)
	createTopic(t, k, "events", 3)
	produce(t, k, "events", "all")
	c.KillNode(1)
	produce(t, k, "events", "two")
	if err := c.StartNode(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	c.FreezeNode(2)
	frozen, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if d, err := describe(frozen, c.Brokers()[2]); err == nil {
		t.Errorf("a frozen node answered: %v", d)
	}
	c.ThawNode(2)
	produce(t, k, "events", "three")
	if got := consume(t, c, "events", 3); len(got) != 3 {
		t.Errorf("records %q, want three", got)
	}
	c.Stop()
	c.Stop()
	if _, err := os.Stat(filepath.Join(dir, "node-1", "data", "meta.properties")); err != nil {
		t.Errorf("a named folder was not kept: %v", err)
	}

	again := start(t, Options{Nodes: 3, Dir: dir})
	if again.id != c.id {
		t.Errorf("cluster id %s, was %s", again.id, c.id)
	}
	if got := consume(t, again, "events", 3); len(got) != 3 {
		t.Errorf("after a restart on the same folder: %q, want three", got)
	}
}

func TestStart_NothingSurvivesAKilledProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a real Apache Kafka, which -short leaves out")
	}
	program := exec.Command(os.Args[0])
	program.Env = append(os.Environ(), roleVariable+"=killed")
	program.Stderr = os.Stderr
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	var folder string
	if _, err := fmt.Sscan(line, &pid, &folder); err != nil {
		t.Fatal(err)
	}
	_ = program.Process.Kill()
	_ = program.Wait()
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, err := os.Lstat(folder)
		if err != nil && dead(pid) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 15 s: folder %v, process dead %v", err, dead(pid))
		}
	}
}

func dead(pid int) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return syscall.Kill(pid, 0) != nil || strings.Contains(string(stat), ") Z ")
}

func TestStart_SaysWhyItCannot(t *testing.T) {
	if _, err := Start(t.Context(), Options{Nodes: 2}); err == nil || !strings.Contains(err.Error(), "1 or 3") {
		t.Errorf("two nodes: %v", err)
	}
	if testing.Short() {
		t.Skip("starts a real Apache Kafka, which -short leaves out")
	}
	_, err := Start(t.Context(), Options{Properties: map[string]string{"min.insync.replicas": "none"}})
	if err == nil || !strings.Contains(err.Error(), "min.insync.replicas") {
		t.Errorf("a property Kafka refuses: %v, want its own words", err)
	}
}
