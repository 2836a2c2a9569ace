package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/relay"
	"github.com/outboxrelay/relay/publisher"
)

// rightsCheck looks whether Kafka's access rules let the relay do its work, and names the rule that is missing.
type rightsCheck struct {
	*checkup
	cfg   *config.Config
	kafka publisher.Config
	admin publisher.Admin
}

// lacks reports operations that are missing on a resource (topic, transactional-id), and how to allow them.
func (c rightsCheck) lacks(check, so, resource, name string, operations []string, more ...string) {
	user := principal(c.kafka)
	command := []string{"kafka-acls.sh --bootstrap-server", c.kafka.Brokers[0], "--add --allow-principal", shellWord(user)}
	for _, operation := range operations {
		command = append(command, "--operation", operation)
	}
	command = append(append(command, "--"+resource, shellWord(name)), more...)
	c.fail(check, fmt.Sprintf("%s: %s lacks %s on this %s; %s", name, user, strings.Join(operations, " and "),
		strings.ReplaceAll(resource, "-", " "), so), strings.Join(command, " "))
}

// checkCreation looks whether a topic that is missing could be created.
func (c rightsCheck) checkCreation(ctx context.Context, check string, spec publisher.TopicSpec) {
	switch err := c.admin.MayCreate(ctx, spec); {
	case err == nil:
		c.ok(check, "%s: does not exist; it is created at start", spec.Name)
	case publisher.Class(err) == publisher.ClassForbidden:
		c.lacks(check, "it does not exist and cannot be created", "topic", spec.Name, []string{"Create"})
	default:
		c.fail(check, fmt.Sprintf("%s: does not exist and cannot be created: %s", spec.Name, err), "")
	}
}

// checkTransactions uses an id beside the relay's own: its own would throw out a relay that runs. The rule is one for a
// prefix anyway, because the parked events have an id of their own.
func (c rightsCheck) checkTransactions(ctx context.Context) {
	const check = "transactions"
	id := c.cfg.Kafka.TransactionalID
	if id == "" && c.database == "" {
		c.warn(check, "the transactional id is made of the database's name, which is unknown: its rights were not looked at", "")
		return
	}
	if id == "" {
		id = relay.TransactionalID(c.database, c.cfg.Outbox.Schema, c.cfg.Outbox.Name)
	}
	kafka := c.kafka
	kafka.TransactionTimeout = relay.TransactionTimeout
	switch err := clientOf(c.cfg).MayTransact(ctx, kafka, id+"-check"); {
	case err == nil:
		c.ok(check, "transactional ids that begin with %s may be used", id)
	case publisher.Class(err) == publisher.ClassUnauthorized:
		c.lacks(check, "exactly_once cannot begin", "transactional-id", id, []string{"Write", "Describe"},
			"--resource-pattern-type prefixed")
	default:
		c.fail(check, fmt.Sprintf("use a transactional id that begins with %s: %s", id, err), "")
	}
}

// checkProgress looks at the topic that the relay keeps its progress in.
func (c rightsCheck) checkProgress(ctx context.Context) {
	const check = "progress"
	name := c.cfg.Kafka.ProgressTopic
	described, err := c.admin.Describe(ctx, []string{name})
	if err != nil {
		c.fail(check, "ask about the topic "+name+": "+err.Error(), "")
		return
	}
	t := described[0]
	wanted := []string{publisher.OperationWrite, publisher.OperationRead, publisher.OperationDescribe}
	missing := t.Lacks(wanted...)
	switch {
	case len(missing) > 0:
		c.lacks(check, "exactly_once cannot begin", "topic", name, missing)
	case publisher.Class(t.Err) == publisher.ClassNoTopic:
		c.checkCreation(ctx, check, publisher.TopicSpec{Name: name})
	case t.Err != nil:
		c.fail(check, fmt.Sprintf("%s: %s", name, t.Err), "")
	case t.ConfigKnown && t.CleanupPolicy != "compact":
		c.fail(check, fmt.Sprintf("%s: cleanup.policy is %s, so the last progress can be deleted", name, t.CleanupPolicy),
			"set cleanup.policy to compact")
	default:
		c.ok(check, "%s: %s", name, count(int(t.Partitions), "partition"))
	}
}

// principal is whom the brokers take us for, by their own rules; they may have others.
func principal(k publisher.Config) string {
	switch {
	case k.SASL.Mechanism == "OAUTHBEARER":
		return "User:" + k.SASL.ClientID
	case k.SASL.Mechanism != "":
		return "User:" + k.SASL.Username
	case k.TLS.Enabled && k.TLS.CertFile != "":
		if text, err := os.ReadFile(k.TLS.CertFile); err == nil {
			if block, _ := pem.Decode(text); block != nil {
				if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
					return "User:" + cert.Subject.String()
				}
			}
		}
	}
	return "User:ANONYMOUS"
}

// shellWord quotes what a shell would take apart.
func shellWord(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.:/=,@", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
