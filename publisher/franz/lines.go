package franz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/speech"
)

// What franz-go logs in the moment in which it fails records for good. Tests pin the texts.
const (
	// batchFailed: a batch, and everything behind it. It holds the partition's lock, so no later record can go before
	// this is heard.
	batchFailed = "batch in a produce request failed"
	// notLoaded: all of a partition, where the line says will_fail. It holds the lock as well.
	notLoaded = "produce partition load error, bumping error count on first stored batch"
	// noProducerID: all that it has. Nothing can go before it has asked for an id again.
	noProducerID = "fatal InitProducerID error, failing all buffered records"
)

// withoutProducerID is what franz-go logs before it sends without one: where the brokers offer none it goes on without
// idempotence. A test pins the text.
const withoutProducerID = "unable to initialize a producer id because the broker is too old or the client is pinned to an old version, continuing without a producer id"

// lines is franz-go's logger: it hears of failed batches, and forwards what people may want to know. Safe from many
// goroutines.
type lines struct {
	log    *slog.Logger
	voice  *speech.Voice
	failed func(error) // told of a failed batch, and of sending without idempotence; nil for a client that does not produce
}

func newLines(cfg publisher.Config, failed func(error)) *lines {
	return &lines{log: cfg.Log, voice: speech.New(cfg.Log, cfg.SASL.Password, cfg.SASL.ClientSecret), failed: failed}
}

// Level has to include the line about failed batches.
func (l *lines) Level() kgo.LogLevel {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelDebug
	}
	return kgo.LogLevelInfo
}

// Log takes a line of franz-go's.
func (l *lines) Log(level kgo.LogLevel, text string, pairs ...any) {
	if l.failed != nil && fails(text, pairs) {
		l.failed(errorOf(pairs))
	}
	if text == withoutProducerID && l.failed != nil {
		l.failed(errNoProducerID)
	}
	to := slog.LevelDebug // its information is about its own work
	if level == kgo.LogLevelWarn || level == kgo.LogLevelError {
		to = slog.LevelWarn
	}
	if !l.log.Enabled(context.Background(), to) {
		return
	}
	line := &strings.Builder{}
	line.WriteString(text)
	for i := 0; i+1 < len(pairs); i += 2 {
		switch name := pairs[i]; name {
		case "err", "broker", "addr", "topic", "partition":
			fmt.Fprintf(line, " %s=%v", name, pairs[i+1])
		}
	}
	if to == slog.LevelDebug {
		l.log.Debug("kafka client", "line", l.voice.Clean(line.String()))
		return
	}
	l.voice.Say(to, text, "kafka client", "line", l.voice.Clean(line.String()))
}

// fails says whether a line tells of records that are being failed.
func fails(text string, pairs []any) bool {
	switch text {
	case batchFailed, noProducerID:
		return true
	case notLoaded:
		i := slices.Index(pairs, any("will_fail"))
		return i >= 0 && i+1 < len(pairs) && pairs[i+1] == true
	}
	return false
}

// errorOf is the error among the pairs of a line.
func errorOf(pairs []any) error {
	for i := 0; i+1 < len(pairs); i += 2 {
		if err, ok := pairs[i+1].(error); ok && pairs[i] == "err" {
			return err
		}
	}
	return errors.New("a batch failed")
}
