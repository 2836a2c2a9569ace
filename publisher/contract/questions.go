package contract

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/outboxrelay/relay/publisher"
)

// RunQuestions holds a client to what publisher.Client and publisher.Admin promise beside producing, against one
// cluster.
func RunQuestions(t *testing.T, client publisher.Client, site Site) {
	for name, test := range map[string]func(*testing.T, publisher.Client, Site){
		"DescribesAndCreatesTopics":      testAdmin,
		"ReadsTopics":                    testTail,
		"ReadsPartitionsThatAreAdded":    testGrowingTail,
		"WaitsNoLongerThanTheCallerDoes": testQuestionsBounded,
	} {
		t.Run(name, func(t *testing.T) { test(t, client, site) })
	}
}

func testAdmin(t *testing.T, client publisher.Client, site Site) {
	admin, err := client.OpenAdmin(Config(t, site.Brokers))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	about, err := admin.Cluster(t.Context())
	if err != nil || about.ID == "" || about.Brokers != 1 || about.Controller < 0 {
		t.Fatalf("cluster: %+v, %v", about, err)
	}
	name := unusedName()
	specs := []publisher.TopicSpec{
		{Name: name, Partitions: 3, ReplicationFactor: 1, Config: map[string]string{
			"cleanup.policy": "compact", "max.message.bytes": "5000", "min.insync.replicas": "1"}},
		{Name: name + "-default"},
	}
	if err := admin.MayCreate(t.Context(), specs[0]); err != nil {
		t.Errorf("asked whether it may be created: %v", err)
	}
	created, err := admin.CreateTopics(t.Context(), specs)
	if err != nil || len(created) != 2 {
		t.Fatalf("create: %v, %v", created, err)
	}
	if created, err = admin.CreateTopics(t.Context(), specs); err != nil || len(created) != 0 {
		t.Fatalf("create again: %v, %v", created, err)
	}
	if _, err = admin.CreateTopics(t.Context(), []publisher.TopicSpec{{Name: name + "-bad", Partitions: 1, ReplicationFactor: 9}}); err == nil {
		t.Error("nine replicas on one broker were promised")
	}
	if _, err = admin.CreateTopics(t.Context(), []publisher.TopicSpec{{Name: "not legal"}}); publisher.Class(err) != publisher.ClassInvalidTopic {
		t.Errorf("create a topic with a name that Kafka does not take: %v", err)
	}
	found, err := admin.Describe(t.Context(), []string{"missing-" + name, name, "not legal"})
	if err != nil || len(found) != 3 {
		t.Fatalf("describe: %+v, %v", found, err)
	}
	if publisher.Class(found[0].Err) != publisher.ClassNoTopic || publisher.Class(found[2].Err) != publisher.ClassInvalidTopic {
		t.Errorf("%+v", found)
	}
	want := publisher.TopicDescription{
		Name: name, Partitions: 3, ReplicationFactor: 1, InSyncReplicas: 1, MinInSyncReplicas: 1,
		MaxMessageBytes: 5000, CleanupPolicy: "compact", ConfigKnown: true, Rights: found[1].Rights,
	}
	if missing := found[1].Lacks(publisher.OperationRead, publisher.OperationWrite, publisher.OperationDescribe); missing != nil {
		t.Errorf("without access rules, %v is missing", missing)
	}
	if found[1] != want {
		t.Errorf("%+v, want %+v", found[1], want)
	}
}

func testTail(t *testing.T, client publisher.Client, site Site) {
	cfg := Config(t, site.Brokers)
	topic := newTopic(t, site.Brokers, 2, nil)
	b := openBench(t, client.Open, cfg)
	tells := func(value string) {
		t.Helper()
		b.send(publisher.Record{Topic: topic, Partition: 1, Key: []byte{}, Value: []byte(value),
			Headers: []publisher.Header{{Key: "null"}, {Key: "empty", Value: []byte{}}}})
		b.allAcked()
	}
	tells("old")

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []publisher.TailRecord
	keep := func(r publisher.TailRecord) error { got = append(got, r); return nil }
	err := client.Tail(ctx, cfg, publisher.TailOptions{Topics: []string{topic}, Limit: 1, Started: func() { tells("new") }}, keep)
	if err != nil || len(got) != 1 || string(got[0].Value) != "new" || got[0].Offset != 1 {
		t.Fatalf("from now on: %+v, %v", got, err)
	}
	got = nil
	err = client.Tail(ctx, cfg, publisher.TailOptions{Topics: []string{topic}, Limit: 2, FromBeginning: true}, keep)
	if err != nil || len(got) != 2 || string(got[0].Value) != "old" {
		t.Fatalf("from the beginning: %+v, %v", got, err)
	}
	r := got[0]
	if r.Topic != topic || r.Partition != 1 || r.Key == nil || r.Timestamp.IsZero() || len(r.Headers) != 2 ||
		r.Headers[0].Value != nil || r.Headers[1].Value == nil {
		t.Errorf("%+v", r)
	}
	enough := errors.New("enough")
	if err = client.Tail(ctx, cfg, publisher.TailOptions{Topics: []string{topic}, FromBeginning: true},
		func(publisher.TailRecord) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("the receiver's error: %v", err)
	}
	if err = client.Tail(ctx, cfg, publisher.TailOptions{Topics: []string{"missing-" + topic}}, keep); publisher.Class(err) != publisher.ClassNoTopic {
		t.Errorf("a missing topic: %v", err)
	}
	short, stop := context.WithCancel(ctx)
	if err = client.Tail(short, cfg, publisher.TailOptions{Topics: []string{topic}, Started: stop}, keep); !errors.Is(err, context.Canceled) {
		t.Errorf("ctx over: %v", err)
	}
}

func testGrowingTail(t *testing.T, client publisher.Client, site Site) {
	cfg := Config(t, site.Brokers)
	topic := newTopic(t, site.Brokers, 1, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	started := make(chan struct{})
	var got []publisher.TailRecord
	done := make(chan error, 1)
	go func() {
		done <- client.Tail(ctx, cfg, publisher.TailOptions{Topics: []string{topic}, Limit: 3, Started: func() { close(started) }},
			func(r publisher.TailRecord) error { got = append(got, r); return nil })
	}()
	select {
	case <-started:
	case err := <-done:
		t.Fatal(err)
	}
	growTopic(t, site.Brokers, topic, 3)
	b := openBench(t, client.Open, cfg)
	for partition := range int32(3) {
		b.send(publisher.Record{Topic: topic, Partition: partition, Value: []byte("v")})
	}
	b.allAcked()
	if err := <-done; err != nil {
		t.Fatalf("%v, after %+v", err, got)
	}
	seen := map[int32]bool{}
	for _, r := range got {
		seen[r.Partition] = true
	}
	if len(seen) != 3 {
		t.Errorf("%+v", got)
	}
}

// A broker is away, or frozen: connections to it come about, and nobody reads them.
func testQuestionsBounded(t *testing.T, client publisher.Client, _ Site) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	for _, broker := range []string{"127.0.0.1:1", silent.Addr().String()} {
		cfg := Config(t, []string{broker})
		for name, ask := range map[string]func(context.Context) error{
			"ping": func(ctx context.Context) error { return client.Ping(ctx, cfg) },
			"last": func(ctx context.Context) error {
				_, err := client.Last(ctx, cfg, "t", []byte("k"))
				return err
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			began := time.Now()
			if err := ask(ctx); publisher.Class(err) != publisher.ClassTransport {
				t.Errorf("%s: class %q: %v", name, publisher.Class(err), err)
			}
			cancel()
			if took := time.Since(began); took > patience/5 {
				t.Errorf("%s: it took %v, the caller wanted to wait half a second", name, took)
			}
		}
	}
}
