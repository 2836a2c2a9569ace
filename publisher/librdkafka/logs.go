//go:build cgo

package librdkafka

import (
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/speech"
)

// noProducerID tags the warning that brokers refuse a producer id, without which nothing is sent. librdkafka asks again
// every half a second and tells it in no event: records would only time out.
const noProducerID = "GETPID"

// refusedFor is from when on that is worth a warning: a coordinator that is just loading refuses for a moment.
const refusedFor = 2 * time.Second

// voice forwards what librdkafka says. Safe from many goroutines.
type voice struct {
	*speech.Voice
	disturbed atomic.Int64 // lines that tell of a broken connection or an unanswered request
	mu        sync.Mutex
	// Of the refusals of a producer id that came one after the other.
	firstRefused, lastRefused time.Time
}

func newVoice(cfg publisher.Config, settings kafka.ConfigMap) *voice {
	var secrets []string
	for _, name := range []string{"sasl.password", "sasl.oauthbearer.client.secret", "ssl.key.password"} {
		secret, _ := settings[name].(string)
		secrets = append(secrets, secret)
	}
	return &voice{Voice: speech.New(cfg.Log, secrets...)}
}

// follow forwards the log lines of a client whose events the binding takes, until it is closed.
func (v *voice) follow(lines <-chan kafka.LogEvent) {
	for l := range lines {
		v.hear(line{tag: l.Tag, text: l.Message, level: l.Level})
	}
}

// lasts notes that a producer id was refused now, and says whether it has been for refusedFor.
func (v *voice) lasts(now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if now.Sub(v.lastRefused) > 2*refusedFor {
		v.firstRefused = now
	}
	v.lastRefused = now
	return now.Sub(v.firstRefused) >= refusedFor
}

// hear forwards one line.
func (v *voice) hear(l line) {
	if l.tag == "FAIL" || l.tag == "REQTMOUT" {
		v.disturbed.Add(1)
	}
	if l.tag == noProducerID && l.level < 5 { // the others are for those who debug
		if v.lasts(time.Now()) {
			v.Say(slog.LevelWarn, l.tag, "the brokers give no producer id: nothing can be sent, trying again", "line", v.Clean(l.text))
		}
		return
	}
	level := slog.LevelWarn
	switch {
	case l.tag == "FATAL": // comes as an event too
		level = slog.LevelDebug
	case l.level >= 7, l.tag == "CONFWARN" && strings.Contains(l.text, "enable.gapless.guarantee"):
		// The warning is that the property is experimental: we know, and nobody can do anything about it.
		level = slog.LevelDebug
	case l.level >= 5:
		level = slog.LevelInfo
	}
	v.Say(level, l.tag, "kafka client", "tag", l.tag, "line", v.Clean(l.text))
}
