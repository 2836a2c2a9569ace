//go:build linux

package acceptance

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// finding is a line of relay check.
type finding struct{ Check, Status, Message, Cure string }

// check runs relay check, and gives the findings that begin with this word.
func (s *securedSite) check(kind string, env ...string) (found []finding) {
	s.t.Helper()
	cmd := exec.Command(s.binary, "check", "--json")
	cmd.Dir = s.folder
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "RELAY_POSTGRES_URL=" + s.url}, env...)
	out, _ := cmd.Output() // exit 3 says that there is something
	var report struct{ Findings []finding }
	if err := json.Unmarshal(out, &report); err != nil {
		s.t.Fatalf("relay check: %v: %s", err, out)
	}
	for _, f := range report.Findings {
		if f.Check == kind {
			found = append(found, f)
		}
	}
	if found == nil {
		s.t.Fatalf("nothing about %s: %+v", kind, report.Findings)
	}
	return found
}

// wants fails when no finding has this status and these words.
func wants(t *testing.T, found []finding, status string, words ...string) {
	t.Helper()
	fits := func(f finding) bool {
		for _, word := range words {
			if !strings.Contains(f.Message+"\n"+f.Cure, word) {
				return false
			}
		}
		return f.Status == status
	}
	if !slices.ContainsFunc(found, fits) {
		t.Errorf("no finding says %s and %q: %+v", status, words, found)
	}
}

// TestSecured_MissingRights takes each right from the relay's Kafka user, and asks what is missing.
func TestSecured_MissingRights(t *testing.T) {
	s := newSecuredSite(t)
	env, _ := s.login("SCRAM-SHA-512", saslPassword)
	id := "relay-postgres-outbox-main"
	env = append(env, "RELAY_OUTBOX_DELIVERY=exactly_once", "RELAY_KAFKA_PROGRESS_TOPIC="+s.topic+".progress")
	s.file("relay.toml", "[[topics.create]]\nname = \"to.be.made\"\npartitions = 1\nreplication_factor = 1") // where check looks
	progress := s.topic + ".progress"
	s.insert(1)

	wants(t, s.check("topic", env...), "fail", s.topic+": User:relay lacks Write and Describe", "--add --allow-principal User:relay --operation Write --operation Describe --topic "+s.topic)
	wants(t, s.check("transactions", env...), "fail", "lacks Write and Describe", "--transactional-id "+id+" --resource-pattern-type prefixed")
	wants(t, s.check("progress", env...), "fail", progress+": User:relay lacks", "Write", "Read", "Describe")

	topic, literal := kmsg.ACLResourceTypeTopic, kadm.ACLPatternLiteral
	s.may(topic, s.topic, literal, kadm.OpDescribe)
	wants(t, s.check("topic", env...), "fail", s.topic+": User:relay lacks Write on")
	s.may(topic, s.topic, literal, kadm.OpWrite)
	wants(t, s.check("topic", env...), "warn", s.topic+": its configuration may not be read")
	s.may(topic, s.topic, literal, kadm.OpDescribeConfigs)
	wants(t, s.check("topic", env...), "warn", s.topic+": replication factor 1")
	wants(t, s.check("topic", env...), "fail", "to.be.made: User:relay lacks Write and Describe")
	s.may(topic, "to.be.made", literal, kadm.OpWrite)
	wants(t, s.check("topic", env...), "fail", "to.be.made: User:relay lacks Create", "cannot be created")
	s.may(topic, "to.be.made", literal, kadm.OpCreate)
	wants(t, s.check("topic", env...), "ok", "to.be.made: does not exist; it is created at start")

	s.may(kmsg.ACLResourceTypeTransactionalId, id, kadm.ACLPatternPrefixed, kadm.OpDescribe)
	wants(t, s.check("transactions", env...), "fail", "lacks Write and Describe")
	s.may(kmsg.ACLResourceTypeTransactionalId, id, kadm.ACLPatternPrefixed, kadm.OpWrite)
	wants(t, s.check("transactions", env...), "ok", id)

	s.may(topic, progress, literal, kadm.OpWrite, kadm.OpRead)
	wants(t, s.check("progress", env...), "fail", progress+": User:relay lacks Create", "cannot be created")
	s.may(topic, progress, literal, kadm.OpCreate)
	wants(t, s.check("progress", env...), "ok", "it is created at start")

	d := s.relay(s.binary, env...)
	s.settled(d, 1, time.Minute)
	wants(t, s.check("progress", env...), "ok", progress+": 8 partitions")
	s.mayNot(topic, s.topic, literal, kadm.OpWrite)
	s.insert(1)
	eventually(t, "the event is held", time.Minute, func() bool {
		return s.ask("select count(*) from outbox.parked where state = 'held'") == 1
	})
	s.may(topic, s.topic, literal, kadm.OpWrite)
	eventually(t, "the event is released", 2*time.Minute, func() bool {
		return s.ask("select count(*) from outbox.parked") == 0
	})
	d.stop(20 * time.Second)
}
