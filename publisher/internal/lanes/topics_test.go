package lanes

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outboxrelay/relay/publisher"
)

var missing = publisher.NewError(publisher.ClassNoTopic, "it is not there")

// asked runs a watch over one topic for so long, and gives when the cluster was asked for it. It answers as describe
// does; the topic is asked for each 10 ms, as feed does.
func asked(t *testing.T, length time.Duration, describe func(since time.Duration) (Described, error)) (at []time.Duration, last error) {
	began := time.Now()
	topics := WatchTopics(func(context.Context, []string) (map[string]Described, error) {
		since := time.Since(began)
		at = append(at, since)
		d, err := describe(since)
		return map[string]Described{"orders": d}, err
	}, func(string, int32) bool { return true })
	for time.Since(began) < length {
		_, last = topics.Ask(t.Context(), "orders", nil)
		time.Sleep(10 * time.Millisecond)
	}
	topics.Stop()
	return at, last
}

func TestTopics_AskForAMissingTopicSoonAndThenLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at, last := asked(t, 18*time.Second, func(time.Duration) (Described, error) { return Described{Err: missing}, nil })
		var pauses []time.Duration
		for i := range at[1:] {
			pauses = append(pauses, (at[i+1] - at[i]).Round(250*time.Millisecond))
		}
		want := []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 4 * time.Second, 4 * time.Second}
		if !slices.Equal(pauses, want) || !publisher.TopicTrouble(last) {
			t.Errorf("pauses %v, want %v; last answer: %v", pauses, want, last)
		}
	})
}

func TestTopics_ANewTopicIsUsableAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, last := asked(t, 800*time.Millisecond, func(since time.Duration) (Described, error) {
			if since < 300*time.Millisecond {
				return Described{Err: missing}, nil
			}
			return Described{Topic: publisher.Topic{Partitions: 4}}, nil
		})
		if last != nil {
			t.Errorf("500 ms after the topic was made it is said to be in trouble: %v", last)
		}
	})
}

func TestTopics_ASilentClusterIsAskedEachSecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at, _ := asked(t, 10*time.Second, func(since time.Duration) (Described, error) {
			if since == 0 {
				return Described{Err: missing}, nil
			}
			return Described{}, errors.New("no answer")
		})
		if len(at) > 11 {
			t.Errorf("asked %d times in 10 s, at %v", len(at), at)
		}
	})
}

func TestTopics_WhatIsNotMentionedIsNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, asked := time.Now(), 0
		topics := WatchTopics(func(context.Context, []string) (map[string]Described, error) {
			asked++
			if since := time.Since(began); since == 0 || since > 10*time.Second {
				return map[string]Described{}, nil
			}
			return map[string]Described{"orders": {Topic: publisher.Topic{Partitions: 4}}}, nil
		}, func(string, int32) bool { return true })
		if about, err := topics.Ask(t.Context(), "orders", nil); publisher.Class(err) != publisher.ClassUnavailable {
			t.Errorf("an answer that does not mention the topic: %+v, %v", about, err)
		}
		for _, pause := range []time.Duration{againAfter, goodFor + againAfter} {
			time.Sleep(pause)
			if about, err := topics.Ask(t.Context(), "orders", nil); err != nil || about.Partitions != 4 {
				t.Errorf("after %v: %+v, %v", time.Since(began), about, err)
			}
		}
		topics.Stop()
		if asked < 3 {
			t.Errorf("asked %d times: this test proves nothing", asked)
		}
	})
}

func TestTopics_NowIsOfThisMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit, away, learnt := 1, error(nil), true
		topics := WatchTopics(func(context.Context, []string) (map[string]Described, error) {
			return map[string]Described{"orders": {Topic: publisher.Topic{Partitions: int32(limit), MaxMessageBytes: limit}}}, away
		}, func(string, int32) bool { return learnt })
		defer topics.Stop()
		now := func(want int) {
			t.Helper()
			if about, err := topics.Now(t.Context(), "orders", nil); err != nil || about.MaxMessageBytes != want {
				t.Errorf("%+v, %v, want %d", about, err, want)
			}
			synctest.Wait()
		}
		now(1)
		limit = 2
		now(1)
		time.Sleep(current + time.Millisecond)
		now(2)
		time.Sleep(current + time.Millisecond)
		limit, learnt = 3, false
		if about, err := topics.Now(t.Context(), "orders", nil); publisher.Class(err) != publisher.ClassUnavailable {
			t.Errorf("the client does not know the new partitions: %+v, %v", about, err)
		}
		synctest.Wait()
		learnt = true
		now(3)
		time.Sleep(current + time.Millisecond)
		away = missing
		if about, err := topics.Now(t.Context(), "orders", nil); !errors.Is(err, missing) {
			t.Errorf("the cluster is away: %+v, %v", about, err)
		}
		dead := make(chan struct{})
		close(dead)
		if _, err := topics.Now(t.Context(), "orders", dead); err == nil {
			t.Error("a dead producer answers")
		}
	})
}
