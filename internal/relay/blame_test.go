package relay

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/internal/devenv/fake"
	"github.com/outboxrelay/relay/publisher"
)

// What Kafka refuses while a session begins was told as an outage of PostgreSQL where its code had no class.
func TestSessions_WhatKafkaRefusesIsToldAsKafkas(t *testing.T) { withEach(t, refusedByKafka) }

func refusedByKafka(t *testing.T, client publisher.Client) {
	for _, c := range []struct {
		refusal *kerr.Error
		reason  string
		cure    string
	}{
		{kerr.InvalidTransactionTimeout, "kafka_configuration", "set their transaction.max.timeout.ms to 60000 or more"},
		{kerr.UnknownServerError, "kafka_unavailable", "its log does"},
		{kerr.InvalidRequiredAcks, "kafka_unknown", ""}, // stands for one that we know nothing of
	} {
		t.Run(c.refusal.Message, func(t *testing.T) {
			if client.Name() == publisher.ClientLibrdkafka && c.refusal != kerr.InvalidTransactionTimeout {
				t.Skip("librdkafka asks again until the take-over has taken half a minute")
			}
			broker := fake.ForTest(t, map[string]int32{"orders": 1, progressTopic: 1})
			broker.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: c.refusal, Count: -1})
			r := newRigOn(t, broker.Brokers())
			r.client = client
			r.showOnFailure()
			w := r.start(r.exactly())
			eventually(t, "the session ends for this reason", 30*time.Second, func() bool {
				return strings.Contains(r.log.String(), `msg="session ended" epoch=1 reason=`+c.reason)
			})
			w.halt(t)
			if text := r.log.String(); !strings.Contains(text, c.cure) || strings.Contains(text, "PostgreSQL is not available") {
				t.Errorf("the log has to say %q, and not that PostgreSQL is away", c.cure)
			}
		})
	}
}

// A client that cannot be made, or fails without a class, is no outage of PostgreSQL's either.
func TestSessions_AClientThatCannotBeMadeIsToldAsKafkas(t *testing.T) {
	broken := errors.New("no such thing")
	for name, breakIt := range map[string]func(*Options){
		"Open": func(o *Options) {
			o.ExactlyOnce = nil
			o.Open = func(publisher.Reports) (publisher.Producer, error) { return nil, broken }
		},
		"OpenTransactional": func(o *Options) {
			o.ExactlyOnce.Open = func(context.Context, string, publisher.Reports) (publisher.Transactional, error) { return nil, broken }
		},
		"Last": func(o *Options) {
			o.ExactlyOnce.Last = func(context.Context, string) ([]byte, error) { return nil, broken }
		},
		"Last, with what is none of ours": func(o *Options) {
			o.ExactlyOnce.Last = func(context.Context, string) ([]byte, error) { return []byte("no JSON"), nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, map[string]int32{"orders": 1, progressTopic: 1})
			r.showOnFailure()
			o := r.exactly()
			breakIt(&o)
			w := r.start(o)
			eventually(t, "the session ends with an error of Kafka's", 30*time.Second, func() bool {
				return strings.Contains(r.log.String(), "reason=kafka_unknown")
			})
			w.halt(t)
			if strings.Contains(r.log.String(), "PostgreSQL is not available") {
				t.Error("the log says that PostgreSQL is away")
			}
		})
	}
}

// What is said of the progress topic may neither hold an event nor condemn it, and it is Kafka's all the same.
func TestBracket_ItsRefusalIsNoJudgementOnAnEvent(t *testing.T) {
	b := &bracket{topic: progressTopic}
	for _, code := range []int{3, 10, 29, 87} {
		if err := b.untold(publisher.FromCode(code)); publisher.TopicTrouble(err) || publisher.Rejected(err) || !publisher.MaybeWritten(err) ||
			reason(err) != "kafka_transaction" {
			t.Errorf("code %d: %v, reason %s", code, err, reason(err))
		}
	}
	if err := b.untold(context.Canceled); reason(err) != "cut" {
		t.Errorf("%v, reason %s", err, reason(err))
	}
}
