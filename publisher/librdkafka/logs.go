//go:build cgo

package librdkafka

import (
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/speech"
)

// voice forwards what librdkafka says. Safe from many goroutines.
type voice struct {
	*speech.Voice
	disturbed atomic.Int64 // lines that tell of a broken connection or an unanswered request
}

func newVoice(cfg publisher.Config, settings kafka.ConfigMap) *voice {
	var secrets []string
	for _, name := range []string{"sasl.password", "sasl.oauthbearer.client.secret", "ssl.key.password"} {
		secret, _ := settings[name].(string)
		secrets = append(secrets, secret)
	}
	return &voice{Voice: speech.New(cfg.Log, secrets...)}
}

// follow forwards librdkafka's log lines until the client is closed. lines is nil for a producer of which they are not
// wanted.
func (v *voice) follow(lines <-chan kafka.LogEvent) {
	if lines == nil {
		return
	}
	for line := range lines {
		if line.Tag == "FAIL" || line.Tag == "REQTMOUT" {
			v.disturbed.Add(1)
		}
		level := slog.LevelWarn
		switch {
		case line.Tag == "FATAL": // comes as an event too
			level = slog.LevelDebug
		case line.Level >= 7, line.Tag == "CONFWARN" && strings.Contains(line.Message, "enable.gapless.guarantee"):
			// The warning is that the property is experimental: we know, and nobody can do anything about it.
			level = slog.LevelDebug
		case line.Level >= 5:
			level = slog.LevelInfo
		}
		v.Say(level, line.Tag, "kafka client", "tag", line.Tag, "line", v.Clean(line.Message))
	}
}

func sortErrors(errs []error) {
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
}
