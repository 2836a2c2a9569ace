package franz

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

// What passes for a property must make a client: else the daemon would find out, again and again.
func TestCheck_MakesAClientAtEachBound(t *testing.T) {
	for name, c := range map[string]struct {
		least, most string
		beyond      []publisher.Tuning // what kgo does refuse: were it no longer so, the bound would be for nothing
	}{
		"linger.ms": {"0", "60000", []publisher.Tuning{{Linger: new(time.Minute + 1)}}},
		"socket.timeout.ms": {"100", "900000", []publisher.Tuning{{RequestOverhead: 100*time.Millisecond - 1},
			{RequestOverhead: 15*time.Minute + 1}}},
		"connections.max.idle.ms": {"100", "900000", []publisher.Tuning{{IdleTimeout: 100*time.Millisecond - 1},
			{IdleTimeout: 15*time.Minute + 1}}},
		"request.timeout.ms": {"100", "1000000000", []publisher.Tuning{{ProduceTimeout: 100*time.Millisecond - 1}}},
		"metadata.max.age.ms": {"250", "3600000", []publisher.Tuning{{MetadataAge: 250*time.Millisecond - 1},
			{MetadataAge: time.Hour + 1}}},
		"topic.metadata.refresh.interval.ms": {"250", "3600000", nil},
		"socket.connection.setup.timeout.ms": {"1", "1000000000", nil},
		"retry.backoff.ms":                   {"1", "1000000000", nil},
		"retry.backoff.max.ms":               {"1", "1000000000", nil},
		"compression.level":                  {"-1000", "1000", nil},
	} {
		cfg := contract.Config(t, []string{"127.0.0.1:1"})
		for _, value := range []string{c.least, c.most} {
			cfg.Properties = map[string]string{name: value}
			if err := Check(cfg); err != nil {
				t.Errorf("%s = %s: %v", name, value, err)
			}
		}
		for _, tuning := range c.beyond {
			connection, err := connectionOptions(cfg, tuning, newGate(), newLines(cfg, nil))
			if err != nil {
				t.Fatal(err)
			}
			more, err := producerOptions(cfg, tuning, func(string) int32 { return mostBatch })
			if err != nil {
				t.Fatal(err)
			}
			if kgo.ValidateOpts(append(connection, more...)...) == nil {
				t.Errorf("%s: franz-go takes %+v", name, tuning)
			}
		}
	}
}

func TestCheck_SaysWhatFranzDoesNotTake(t *testing.T) {
	cfg := contract.Config(t, []string{"127.0.0.1:1"})
	cfg.ClientID = strings.Repeat("x", 257)
	if err := Check(cfg); err == nil || !strings.Contains(err.Error(), "client id") {
		t.Errorf("a client id of 257 bytes: %v", err)
	}
	cfg.ClientID = strings.Repeat("x", 256)
	if err := Check(cfg); err != nil {
		t.Errorf("one of 256: %v", err)
	}
}
