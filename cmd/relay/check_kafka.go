package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/librdkafka"
)

// Fewer copies than these do not survive the loss of one broker.
const (
	safeReplication = 3
	safeInSync      = 2
)

// checkKafka looks at the cluster and at the topics that the configuration names or that recent events have.
func (c *checkup) checkKafka(ctx context.Context, cfg *config.Config, recent []string) {
	kafka, err := c.g.kafkaConfig(cfg)
	if err != nil {
		c.fail("kafka", err.Error(), "")
		return
	}
	if err := pingKafka(ctx, kafka); err != nil {
		c.fail("kafka", err.Error(), "")
		return
	}
	admin, err := librdkafka.OpenAdmin(kafka)
	if err != nil {
		c.fail("kafka", err.Error(), "")
		return
	}
	defer admin.Close()
	cluster, err := admin.Cluster(ctx)
	if err != nil {
		c.fail("kafka", explainKafka(err, kafka).Error(), "")
		return
	}
	encrypted := "not encrypted"
	if kafka.TLS.Enabled {
		encrypted = "encrypted"
	}
	c.ok("kafka", "cluster %s with %s, %s", cluster.ID, count(cluster.Brokers, "broker"), encrypted)
	c.checkTopics(ctx, cfg, admin, recent)
}

func (c *checkup) checkTopics(ctx context.Context, cfg *config.Config, admin *librdkafka.Admin, recent []string) {
	names := cfg.Named()
	for _, topic := range recent {
		if !cfg.Topics.Allowed(topic) {
			c.warn("topic", fmt.Sprintf("%s: recent events are for it, and topics.allow holds them", topic), "add it to topics.allow")
			continue
		}
		if !slices.Contains(names, topic) {
			names = append(names, topic)
		}
	}
	if len(names) == 0 {
		c.ok("topic", "none is named in the configuration and there are no recent events: nothing to look at")
		return
	}
	described, err := admin.Describe(ctx, names)
	if err != nil {
		c.fail("topic", "ask about the topics: "+err.Error(), "")
		return
	}
	for _, topic := range described {
		c.checkTopic(cfg, topic)
	}
}

func (c *checkup) checkTopic(cfg *config.Config, t librdkafka.TopicDescription) {
	created := slices.ContainsFunc(cfg.Topics.Create, func(topic config.CreateTopic) bool { return topic.Name == t.Name })
	switch {
	case publisher.Class(t.Err) == publisher.ClassNoTopic && created:
		c.ok("topic", "%s: does not exist; it is created at start", t.Name)
		return
	case publisher.Class(t.Err) == publisher.ClassNoTopic:
		c.fail("topic", t.Name+": does not exist; its events are held", "create it, or list it in topics.create")
		return
	case publisher.Class(t.Err) == publisher.ClassForbidden:
		c.fail("topic", t.Name+": may not be looked at", "allow the relay's Kafka user to Describe and Write it")
		return
	case t.Err != nil:
		c.fail("topic", fmt.Sprintf("%s: %s", t.Name, t.Err), "")
		return
	case t.ConfigKnown && t.InSyncReplicas < t.MinInSyncReplicas:
		c.fail("topic", fmt.Sprintf("%s: a partition has %s in sync and needs %d, so it takes no events now",
			t.Name, count(t.InSyncReplicas, "replica"), t.MinInSyncReplicas), "bring its brokers back")
		return
	}
	before := len(c.findings)
	c.checkDurability(t)
	if len(c.findings) == before {
		c.ok("topic", "%s: %s, %d replicas, %d have to confirm", t.Name, count(int(t.Partitions), "partition"),
			t.ReplicationFactor, t.MinInSyncReplicas)
	}
}

// checkDurability warns of what loses events that Kafka has confirmed: no promise of the relay survives that.
func (c *checkup) checkDurability(t librdkafka.TopicDescription) {
	if t.ReplicationFactor < safeReplication {
		c.warn("topic", fmt.Sprintf("%s: replication factor %d; losing a broker can lose delivered events", t.Name, t.ReplicationFactor),
			fmt.Sprintf("use %d or more in production", safeReplication))
	}
	if !t.ConfigKnown {
		c.warn("topic", t.Name+": its configuration may not be read, so min.insync.replicas and unclean elections were not looked at",
			"allow the relay's Kafka user to DescribeConfigs")
		return
	}
	switch {
	case t.MinInSyncReplicas < safeInSync:
		c.warn("topic", fmt.Sprintf("%s: min.insync.replicas is %d; an event is confirmed while only %s has it",
			t.Name, t.MinInSyncReplicas, count(t.MinInSyncReplicas, "broker")), fmt.Sprintf("set it to %d", safeInSync))
	case t.MinInSyncReplicas >= t.ReplicationFactor:
		c.warn("topic", fmt.Sprintf("%s: min.insync.replicas %d of %d replicas; delivery stops when one broker is away",
			t.Name, t.MinInSyncReplicas, t.ReplicationFactor), "raise the replication factor")
	}
	if t.UncleanLeaderElection {
		c.warn("topic", t.Name+": unclean.leader.election.enable is true; a fail-over can drop delivered events", "set it to false")
	}
}
