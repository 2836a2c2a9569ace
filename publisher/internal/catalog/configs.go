package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/outboxrelay/relay/publisher"
)

const (
	// readWithin is for how long brokers may take to agree that a topic is there.
	readWithin = time.Second
	readPause  = 50 * time.Millisecond
)

const (
	codeTopicForbidden   = 29
	codeClusterForbidden = 31 // not from Apache Kafka, which asks for the right to the topic
	// Servers that speak Kafka's protocol and have no such question.
	codeUnsupported = 35
	codeInvalid     = 42
)

// hidden says that a topic's configuration is not for us, now or later. Then the broker decides about each record.
func hidden(code int) bool {
	switch code {
	case codeTopicForbidden, codeClusterForbidden, codeUnsupported, codeInvalid:
		return true
	}
	return false
}

// Config is the configuration of one topic, or Kafka's code for why it was not given.
type Config struct {
	Values map[string]string
	Code   int
}

// Configs asks once for the configuration of topics. The error says that the cluster could not be asked.
type Configs func(ctx context.Context, names []string) (map[string]Config, error)

// Read is the configuration of topics that the cluster knows: of those that we may read, and an error for each that
// could not be read for a reason that passes. It is none of the topic trouble: nothing is known of such a topic. A
// broker that has not heard yet of a topic just made says that there is none, so it is asked again.
func (ask Configs) Read(ctx context.Context, names []string) (map[string]map[string]string, map[string]error, error) {
	known := map[string]map[string]string{}
	for began := time.Now(); ; {
		answers, err := ask(ctx, names)
		if err != nil {
			return nil, nil, err
		}
		unread := map[string]error{}
		var again []string
		for _, name := range names {
			switch a, ok := answers[name]; {
			case ok && a.Code == 0:
				known[name] = a.Values
			case !ok || !hidden(a.Code):
				again, unread[name] = append(again, name), notRead(a.Code)
			}
		}
		if names = again; len(names) == 0 || time.Since(began) > readWithin {
			return known, unread, nil
		}
		select {
		case <-ctx.Done():
			return known, unread, nil
		case <-time.After(readPause):
		}
	}
}

func notRead(code int) error {
	return publisher.NewError(publisher.ClassUnavailable,
		fmt.Sprintf("the brokers do not give the topic's configuration (kafka code %d): it may be a moment old", code))
}
