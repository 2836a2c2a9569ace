package relay

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAside_OpensOnlyWhatNothingWasParkedBehindSince(t *testing.T) {
	a := newAside(false)
	key := "k"
	s := a.parked("t", []byte(key), verdict{state: Dead})
	if a.behind("t", []byte(key)) == "" || a.behind("t", []byte("other")) != "" || a.behind("t", nil) != "" {
		t.Fatal("a dead event holds back its key and nothing else")
	}
	if _, ok := a.look("t", &key); ok {
		t.Error("a key can be opened while an event of it is not in the table yet")
	}
	a.settled([]*standing{s})
	generation, ok := a.look("t", &key)
	if !ok {
		t.Fatal("nothing waits to be settled, but the key cannot be looked at")
	}
	late := a.parked("t", []byte(key), verdict{state: Behind})
	if a.open("t", &key, generation) {
		t.Fatal("the key was opened although an event was parked behind it since the look")
	}
	a.settled([]*standing{late})
	if a.open("t", &key, generation) {
		t.Fatal("the key was opened on an old look")
	}
	if generation, _ = a.look("t", &key); !a.open("t", &key, generation) || a.behind("t", []byte(key)) != "" {
		t.Error("the key does not open although nothing is left")
	}
}

func TestAside_AnEventParkedBehindNothingIsReleasedAllTheSame(t *testing.T) {
	a := newAside(false)
	// Feed asked while the key stood aside, and parks after the runner has opened it.
	s := a.parked("t", []byte("k"), verdict{state: Behind})
	if s == nil || a.behind("t", []byte("x")) != whyReleasing || len(a.dueTopics(time.Now())) != 1 {
		t.Error("nobody would look at the event again")
	}
}

func TestAside_ATopicInTroubleIsNotTriedBeforeItsTime(t *testing.T) {
	a := newAside(false)
	now := time.Now()
	a.postpone("t", "forbidden: no", now.Add(time.Second))
	if a.trouble("t") != "forbidden: no" || len(a.dueTopics(now)) != 0 || len(a.dueTopics(now.Add(2*time.Second))) != 1 {
		t.Error("a topic in trouble is tried too early, or never")
	}
	a.releasing("t")
	if a.trouble("t") != "" || a.behind("t", nil) != whyReleasing {
		t.Error("events of a topic that is being released must wait behind, not be held")
	}
}

func TestAside_AsksForATopicSoonAndThenLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAside(false)
		pause := func() time.Duration {
			a.askAgain("t", "no_topic: it is not there")
			return a.nextTopic(time.Now(), time.Minute)
		}
		for _, want := range []time.Duration{askFirst, 2 * askFirst, askLast, askLast} {
			if got := pause(); got != want {
				t.Errorf("asked again after %v, want %v", got, want)
			}
		}
		time.Sleep(askLast)
		if len(a.dueTopics(time.Now())) != 1 || a.nextTopic(time.Now(), time.Minute) != lookEvery {
			t.Error("a topic whose time has come is not due, or the runner does not rest while it waits for others")
		}
		a.releasing("t")
		if got := pause(); got != askFirst {
			t.Errorf("after it went on, asked again after %v", got)
		}
	})
}

func TestAside_SkipLetsKeysGoOn(t *testing.T) {
	a := newAside(true)
	a.parked("t", []byte("k"), verdict{state: Dead})
	if a.behind("t", []byte("k")) != "" {
		t.Error("with skip a dead event holds back its key")
	}
}

func TestTrust_LastsFromTheAskingNotFromTheAnswer(t *testing.T) {
	tr := newTrust()
	ttl := 15 * time.Second
	tr.renewed(time.Now().Add(-5*time.Second), ttl)
	if left := tr.left(); left > ttl-margin(ttl)-5*time.Second+100*time.Millisecond || left < 9*time.Second {
		t.Errorf("%v are left", left)
	}
	// A record handed over now can be written for the message timeout; that must fit below the trust a fresh renewal
	// gives, with room for one renewal to be late.
	if room := ttl - margin(ttl) - MessageTimeout(ttl); room < 2*renewEvery(ttl) {
		t.Errorf("only %v of room", room)
	}
}
