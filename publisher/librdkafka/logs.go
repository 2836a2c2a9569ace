//go:build cgo

package librdkafka

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/publisher"
)

// quiet is how long an equal line is held back.
const quiet = time.Minute

// voice forwards what librdkafka says: an equal line at most once a minute, with the count of those held back, and
// never a secret. Safe from many goroutines.
type voice struct {
	log     *slog.Logger
	secrets *strings.Replacer

	mu   sync.Mutex
	seen map[string]*spoken

	disturbed atomic.Int64 // lines that tell of a broken connection or an unanswered request
}

type spoken struct {
	at   time.Time
	held int
}

func newVoice(cfg publisher.Config, settings kafka.ConfigMap) *voice {
	var pairs []string
	for _, name := range []string{"sasl.password", "sasl.oauthbearer.client.secret", "ssl.key.password"} {
		if secret, ok := settings[name].(string); ok && secret != "" {
			pairs = append(pairs, secret, "[secret]")
		}
	}
	return &voice{log: cfg.Log, secrets: strings.NewReplacer(pairs...), seen: map[string]*spoken{}}
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
		v.say(level, line.Tag, "kafka client", "tag", line.Tag, "line", v.clean(line.Message))
	}
}

// say logs, unless a line like it was logged within the last minute. Numbers make no difference: librdkafka counts
// and measures in its lines. The last attribute is the text to compare.
func (v *voice) say(level slog.Level, kind, phrase string, attrs ...any) {
	text, _ := attrs[len(attrs)-1].(string)
	held, ok := v.mayspeak(kind+" "+strings.Map(dropDigits, text), time.Now())
	if !ok {
		return
	}
	if held > 0 {
		attrs = append(attrs, "repeated", held)
	}
	v.log.Log(context.Background(), level, phrase, attrs...)
}

func (v *voice) mayspeak(key string, now time.Time) (held int, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.seen[key]
	if s == nil {
		if len(v.seen) >= 500 { // lines that never repeat must not pile up
			clear(v.seen)
		}
		v.seen[key] = &spoken{at: now}
		return 0, true
	}
	if now.Sub(s.at) < quiet {
		s.held++
		return 0, false
	}
	held, s.at, s.held = s.held, now, 0
	return held, true
}

// clean takes secrets out of a text of librdkafka's.
func (v *voice) clean(text string) string { return v.secrets.Replace(text) }

func dropDigits(r rune) rune {
	if r >= '0' && r <= '9' {
		return -1
	}
	return r
}

func sortErrors(errs []error) {
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
}
