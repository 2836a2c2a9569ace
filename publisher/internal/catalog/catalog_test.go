package catalog

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/outboxrelay/relay/publisher"
)

func TestEntry_SaysWhatAProducerAndPeopleNeed(t *testing.T) {
	e := Entry{Name: "t", Rights: publisher.RightsDisclosed | publisher.MayWrite,
		Partitions: []Partition{{Replicas: 3, InSync: 3}, {Replicas: 2, InSync: 2}, {Replicas: 3, InSync: 1}},
		Config: map[string]string{"max.message.bytes": "5000", "cleanup.policy": "compact,delete", "min.insync.replicas": "2",
			"unclean.leader.election.enable": "true"}}
	if got, want := e.Topic(), (publisher.Topic{Name: "t", Partitions: 3, MaxMessageBytes: 5000, Compacted: true}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	want := publisher.TopicDescription{Name: "t", Partitions: 3, ReplicationFactor: 2, InSyncReplicas: 1, MinInSyncReplicas: 2,
		UncleanLeaderElection: true, MaxMessageBytes: 5000, CleanupPolicy: "compact,delete", ConfigKnown: true, Rights: e.Rights}
	if got := e.description(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	e.Config = nil // we may not read it
	if got := e.Topic(); got.MaxMessageBytes != publisher.NoLimit || got.Compacted {
		t.Errorf("%+v", got)
	}
	if e.description().ConfigKnown {
		t.Error("a configuration that could not be read is known")
	}
}

func TestAsk_DescribesInOrderAndAsksForLegalNamesOnly(t *testing.T) {
	ask := Ask(func(_ context.Context, names []string) (map[string]Entry, error) {
		if len(names) != 2 || names[0] != "b" || names[1] != "a" {
			t.Errorf("asked for %q", names)
		}
		return map[string]Entry{"a": {Name: "a", Partitions: make([]Partition, 1)}, "b": {Name: "b", Err: publisher.FromCode(3)}}, nil
	})
	got, err := ask.Describe(t.Context(), []string{"b", "no such name", "a"})
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, class := range []string{publisher.ClassNoTopic, publisher.ClassInvalidTopic, ""} {
		if publisher.Class(got[i].Err) != class {
			t.Errorf("%d: %+v, want class %q", i, got[i], class)
		}
	}
	if got[2].Partitions != 1 {
		t.Errorf("%+v", got[2])
	}
	away := errors.New("away")
	if _, err := Ask(func(context.Context, []string) (map[string]Entry, error) { return nil, away }).Describe(t.Context(), []string{"a"}); !errors.Is(err, away) {
		t.Errorf("%v", err)
	}
}

func TestAsk_AwaitsUntilAllAreKnown(t *testing.T) {
	asked := 0
	ask := Ask(func(context.Context, []string) (map[string]Entry, error) {
		asked++
		entries := map[string]Entry{"a": {Name: "a"}, "b": {Name: "b"}}
		switch asked {
		case 1:
			entries["a"] = Entry{Name: "a", Err: publisher.FromCode(3)} // the broker has not heard of it
		case 2:
			entries["b"] = Entry{Name: "b", Err: publisher.FromCode(5)} // it has no leader yet
		}
		return entries, nil
	})
	if err := ask.Await(t.Context(), []string{"a", "b"}); err != nil || asked != 3 {
		t.Errorf("%v after %d questions, want 3", err, asked)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	never := Ask(func(context.Context, []string) (map[string]Entry, error) {
		return map[string]Entry{"a": {Name: "a", Err: publisher.FromCode(3)}}, nil
	})
	if err := never.Await(ctx, []string{"a"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a topic that does not appear: %v", err)
	}
}

func TestDisclosed_TakesAListWithoutDescribeForNone(t *testing.T) {
	for _, listed := range []publisher.Rights{0, publisher.MayWrite, publisher.MayRead | publisher.MayWrite} {
		if got := Disclosed(listed); got != 0 {
			t.Errorf("%b: %b", listed, got)
		}
	}
	if got, want := Disclosed(publisher.MayDescribe), publisher.RightsDisclosed|publisher.MayDescribe; got != want {
		t.Errorf("%b, want %b", got, want)
	}
}
