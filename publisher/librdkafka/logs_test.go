//go:build cgo

package librdkafka

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

// heard is a log that can be read while it is written.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *heard) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(line)
}

func (w *heard) has(words ...string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, word := range words {
		if !strings.Contains(w.text.String(), word) {
			return false
		}
	}
	return true
}

func TestOpen_TellsOfTroubleWithoutReadingLogLines(t *testing.T) {
	broker := contract.NewIdentity(t, "broker", nil)
	secured := contract.StartFake(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{broker.Pair}}))
	for class, cfg := range map[string]publisher.Config{
		publisher.ClassTransport:      contract.Config(t, []string{"127.0.0.1:1"}),
		publisher.ClassAuthentication: contract.Config(t, secured.ListenAddrs()),
	} {
		t.Run(class, func(t *testing.T) {
			log := &heard{}
			cfg.Log = slog.New(slog.NewTextHandler(log, nil))
			cfg.TLS.Enabled = class == publisher.ClassAuthentication
			openForTest(t, cfg)
			until(t, "the log tells of it", func() bool { return log.has("level=WARN", "class="+class) })
		})
	}
}

// A coordinator that is loading, as in the first moments of a broker, refuses once or twice, and again at another time.
func TestVoice_BearsARefusalOfAMoment(t *testing.T) {
	v, began := newVoice(publisher.Config{Log: slog.New(slog.DiscardHandler)}, nil), time.Now()
	for _, c := range []struct {
		after time.Duration
		lasts bool
	}{{0, false}, {500 * time.Millisecond, false}, {refusedFor, true}, {refusedFor + time.Second, true}, {time.Minute, false}, {time.Minute + time.Second, false}} {
		if got := v.lasts(began.Add(c.after)); got != c.lasts {
			t.Errorf("refused after %v: %v", c.after, got)
		}
	}
}

// librdkafka asks again for as long as it takes, sends nothing meanwhile, and tells nobody but its log.
func TestOpen_TellsThatBrokersGiveNoProducerID(t *testing.T) {
	fake := contract.StartFake(t)
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.UnknownServerError, Count: -1})
	log := &heard{}
	cfg := contract.Config(t, fake.ListenAddrs())
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	p, _ := openForTest(t, cfg)
	until(t, "the log tells of it", func() bool { return log.has("level=WARN", "no producer id", "Unknown broker error") })
	if log.has("kafka client has trouble") || log.has("tag=") || p.Err() != nil {
		t.Errorf("more is told than that, or the producer has ended: %v", p.Err())
	}
}

func TestOpen_ReadsLogLinesForThoseWhoDebug(t *testing.T) {
	log := &heard{}
	cfg := contract.Config(t, []string{"127.0.0.1:1"})
	cfg.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.Properties = map[string]string{"debug": "broker"}
	openForTest(t, cfg)
	until(t, "librdkafka's lines are in the log", func() bool { return log.has("level=DEBUG", "tag=CONNECT") })
}

func TestProducerSettings_TransactionsHearLogLines(t *testing.T) {
	cfg := contract.Config(t, []string{"127.0.0.1:1"})
	cfg.TransactionalID = "t"
	m, err := producerSettings(cfg)
	if err != nil || !wantsLines(cfg) || m["log_level"] != "6" {
		t.Errorf("a transaction would not know of a request sent twice: %v, %v, %v", wantsLines(cfg), m["log_level"], err)
	}
}
