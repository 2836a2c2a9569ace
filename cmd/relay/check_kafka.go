package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/clients"
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
	if err := pingKafka(ctx, cfg, kafka); err != nil {
		c.fail("kafka", err.Error(), "")
		return
	}
	admin, err := clientOf(cfg).OpenAdmin(kafka)
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
	version := cluster.Version
	if version == "" {
		version = kafkaVersion(ctx, kafka)
	}
	if version != "" {
		version = ", Kafka " + version + " by what they speak"
	}
	c.ok("kafka", "cluster %s with %s%s, %s", cluster.ID, count(cluster.Brokers, "broker"), version, encrypted)
	acl := rightsCheck{checkup: c, cfg: cfg, kafka: kafka, admin: admin}
	c.checkTopics(ctx, cfg, acl, recent)
	if cfg.Outbox.Delivery == config.ExactlyOnce && ctx.Err() == nil {
		acl.checkTransactions(ctx)
		acl.checkProgress(ctx)
	}
}

// kafkaVersion asks with franz-go, which is in every build: librdkafka keeps to itself what brokers offer. It is "" when
// that client gets no answer, which says nothing about the one that is used.
func kafkaVersion(ctx context.Context, kafka publisher.Config) string {
	kafka.Properties, kafka.Log = nil, slog.New(slog.DiscardHandler)
	client, err := clients.Named(publisher.ClientFranz)
	if err != nil {
		return ""
	}
	admin, err := client.OpenAdmin(kafka)
	if err != nil {
		return ""
	}
	defer admin.Close()
	bounded, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	cluster, err := admin.Cluster(bounded)
	if err != nil {
		return ""
	}
	return cluster.Version
}

func (c *checkup) checkTopics(ctx context.Context, cfg *config.Config, acl rightsCheck, recent []string) {
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
	described, err := acl.admin.Describe(ctx, names)
	if err != nil {
		c.fail("topic", "ask about the topics: "+err.Error(), "")
		return
	}
	for _, topic := range described {
		c.checkTopic(ctx, cfg, acl, topic)
	}
}

func (c *checkup) checkTopic(ctx context.Context, cfg *config.Config, acl rightsCheck, t publisher.TopicDescription) {
	create := slices.IndexFunc(cfg.Topics.Create, func(topic config.CreateTopic) bool { return topic.Name == t.Name })
	switch {
	case publisher.Class(t.Err) == publisher.ClassNoTopic && create >= 0:
		spec := cfg.Topics.Create[create]
		acl.checkCreation(ctx, "topic", publisher.TopicSpec{Name: spec.Name, Partitions: spec.Partitions,
			ReplicationFactor: spec.ReplicationFactor, Config: spec.Config})
		return
	case publisher.Class(t.Err) == publisher.ClassNoTopic:
		c.fail("topic", t.Name+": does not exist; its events are held", "create it, or list it in topics.create")
		return
	case publisher.Class(t.Err) == publisher.ClassForbidden:
		acl.lacks("topic", "its events are held", "topic", t.Name, t.Lacks(publisher.OperationWrite, publisher.OperationDescribe))
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
func (c *checkup) checkDurability(t publisher.TopicDescription) {
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
