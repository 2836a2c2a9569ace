// Package speech forwards what a Kafka client says of itself to our log: an equal line at most once a minute, with the
// count of those held back, and never a secret.
package speech

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// quiet is how long an equal line is held back.
const quiet = time.Minute

// Voice of one client. Safe from many goroutines.
type Voice struct {
	log     *slog.Logger
	secrets *strings.Replacer

	mu   sync.Mutex
	seen map[string]*spoken
}

type spoken struct {
	at   time.Time
	held int
}

// New keeps the secrets, those that are not "", out of whatever is said.
func New(log *slog.Logger, secrets ...string) *Voice {
	var pairs []string
	for _, secret := range secrets {
		if secret != "" {
			pairs = append(pairs, secret, "[secret]")
		}
	}
	return &Voice{log: log, secrets: strings.NewReplacer(pairs...), seen: map[string]*spoken{}}
}

// Say logs, unless a line like it was logged within the last minute. Numbers make no difference: clients count and
// measure in their lines. The last attribute is the text to compare.
func (v *Voice) Say(level slog.Level, kind, phrase string, attrs ...any) {
	text, _ := attrs[len(attrs)-1].(string)
	held, ok := v.maySpeak(kind+" "+strings.Map(dropDigits, text), time.Now())
	if !ok {
		return
	}
	if held > 0 {
		attrs = append(attrs, "repeated", held)
	}
	v.log.Log(context.Background(), level, phrase, attrs...)
}

func (v *Voice) maySpeak(key string, now time.Time) (held int, ok bool) {
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

// Clean takes secrets out of a text.
func (v *Voice) Clean(text string) string { return v.secrets.Replace(text) }

func dropDigits(r rune) rune {
	if r >= '0' && r <= '9' {
		return -1
	}
	return r
}
