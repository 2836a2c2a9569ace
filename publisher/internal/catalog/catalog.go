// Package catalog makes of what a client heard about topics what publisher.Producer and publisher.Admin answer.
package catalog

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/outboxrelay/relay/publisher"
)

// Entry is what the cluster said of one topic.
type Entry struct {
	Name       string
	Partitions []Partition
	Config     map[string]string // nil where we may not read it
	Rights     publisher.Rights
	Err        error
}

// Partition has the numbers of its replicas.
type Partition struct{ Replicas, InSync int }

// Ask asks the cluster about topics, by name. The error says that it could not be asked; what is wrong with a single
// topic stands in its Err.
type Ask func(ctx context.Context, names []string) (map[string]Entry, error)

// Topic is the entry as a producer needs it.
func (e Entry) Topic() publisher.Topic {
	limit, err := strconv.Atoi(e.Config["max.message.bytes"])
	if err != nil {
		limit = publisher.NoLimit
	}
	return publisher.Topic{
		Name: e.Name, Partitions: int32(len(e.Partitions)), MaxMessageBytes: limit,
		Compacted: strings.Contains(e.Config["cleanup.policy"], "compact"),
	}
}

func (e Entry) description() publisher.TopicDescription {
	t := publisher.TopicDescription{
		Name: e.Name, Partitions: int32(len(e.Partitions)), Err: e.Err, Rights: e.Rights,
		ConfigKnown: e.Config != nil, CleanupPolicy: e.Config["cleanup.policy"],
		UncleanLeaderElection: e.Config["unclean.leader.election.enable"] == "true",
	}
	t.MinInSyncReplicas, _ = strconv.Atoi(e.Config["min.insync.replicas"])
	t.MaxMessageBytes, _ = strconv.Atoi(e.Config["max.message.bytes"])
	for i, p := range e.Partitions {
		if i == 0 || p.Replicas < t.ReplicationFactor {
			t.ReplicationFactor = p.Replicas
		}
		if i == 0 || p.InSync < t.InSyncReplicas {
			t.InSyncReplicas = p.InSync
		}
	}
	return t
}

// Describe is publisher.Admin's.
func (ask Ask) Describe(ctx context.Context, names []string) ([]publisher.TopicDescription, error) {
	result := make([]publisher.TopicDescription, len(names))
	var asked []string
	for i, name := range names {
		result[i] = publisher.TopicDescription{Name: name, Err: Illegal(name)}
		if result[i].Err == nil {
			asked = append(asked, name)
		}
	}
	if len(asked) == 0 {
		return result, nil
	}
	found, err := ask(ctx, asked)
	if err != nil {
		return nil, err
	}
	for i := range result {
		if e, ok := found[result[i].Name]; ok {
			result[i] = e.description()
		}
	}
	return result, nil
}

// Await asks until topics that were just created are known. Whoever asked sooner would take them for missing.
func (ask Ask) Await(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	for {
		found, err := ask(ctx, names)
		if err != nil {
			return fmt.Errorf("wait for created topics: %w", err)
		}
		unknown := 0
		for _, e := range found {
			if class := publisher.Class(e.Err); class == publisher.ClassNoTopic || class == publisher.ClassUnavailable {
				unknown++
			}
		}
		if unknown == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for created topics: %d of %d are not known yet: %w", unknown, len(names), ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Disclosed is what a broker listed of our rights on a topic that it named without an error; 0 where it told none.
//
// A list without Describe counts as none. Kafka names a topic only to those who may describe it, and asks the same
// authorizer for the list, so its lists have Describe. Brokers that do not fill in the field answer 0. Taken for a list
// that would forbid every topic for ever; taken for nothing, a write tells.
func Disclosed(listed publisher.Rights) publisher.Rights {
	if listed&publisher.MayDescribe == 0 {
		return 0
	}
	return listed | publisher.RightsDisclosed
}

// Illegal is the error of a name that Kafka does not take; nil for others.
func Illegal(name string) error {
	if publisher.LegalTopic(name) {
		return nil
	}
	return publisher.NewError(publisher.ClassInvalidTopic, "not a name that Kafka takes")
}

// OrDefault is -1, "the cluster's default", for 0.
func OrDefault(n int) int {
	if n == 0 {
		return -1
	}
	return n
}
