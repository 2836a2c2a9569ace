package relay

import (
	"sync"
	"time"
)

// aside knows whose events stand aside: whole topics, and keys of a topic. While one does, its new events park behind
// what is parked already, so that none passes. Feed asks and parks, settle says what is durable, the parked runner
// opens again. Safe for concurrent use.
//
// Opening is the delicate part, for feed may be parking one more event of the key at that moment:
//
//	runner: look(key) → generation g, nothing of it waits to be settled
//	runner: the table has no more rows of the key
//	runner: open(key, g) succeeds only if feed has parked nothing of it since the look
type aside struct {
	mu     sync.Mutex
	skip   bool // parked.on_dead = "skip": a dead event holds back nothing
	topics map[string]*standing
	keys   map[string]map[string]*standing
	loose  *standing     // whatever is parked and holds back nothing
	nudge  chan struct{} // feed parked something that the runner may want to look at
}

// standing is one topic or key that stands aside. Guarded by aside.mu.
type standing struct {
	topic, key string
	whole      bool
	why        string // the reason of events that park behind it
	unsettled  int    // events parked and not settled yet
	generation uint64 // counts the events parked
	retryAt    time.Time
	patience   time.Duration // how long a topic that could not go was left alone the last time
}

func newAside(skip bool) *aside {
	return &aside{skip: skip, topics: map[string]*standing{}, keys: map[string]map[string]*standing{},
		loose: &standing{}, nudge: make(chan struct{}, 1)}
}

// Reasons of events that wait for others.
const (
	whyReleasing = "earlier events of the topic are being released"
	whyKeyHeld   = "an earlier event of the key is held or dead"
)

// trouble says why the topic's events are held, "" when they are not.
func (a *aside) trouble(topic string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.topics[topic]; s != nil && s.why != whyReleasing {
		return s.why
	}
	return ""
}

// behind says why an event of this topic and key may not go now, "" when it may. Events without a key keep no order,
// so only a whole topic stands in their way.
func (a *aside) behind(topic string, key []byte) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.topics) > 0 {
		if s := a.topics[topic]; s != nil {
			return s.why
		}
	}
	if key != nil && len(a.keys) > 0 && a.keys[topic][string(key)] != nil {
		return whyKeyHeld
	}
	return ""
}

// parked notes that feed parks an event, and returns the standing that the event belongs to. Give it to settled once
// the event is in the table.
func (a *aside) parked(topic string, key []byte, v verdict) *standing {
	a.mu.Lock()
	defer a.mu.Unlock()
	var s *standing
	switch {
	case v.state == Scheduled, v.state == Dead && (key == nil || a.skip):
		s = a.loose
	case v.state == Held:
		s = a.wholeTopic(topic, v.reason)
	case v.state == Dead:
		s = a.oneKey(topic, string(key))
	case a.topics[topic] != nil:
		s = a.topics[topic]
	case key != nil && a.keys[topic][string(key)] != nil:
		s = a.keys[topic][string(key)]
	default:
		// What it is to wait behind was opened since feed asked. It must be released all the same.
		s = a.wholeTopic(topic, whyReleasing)
	}
	s.unsettled++
	s.generation++
	return s
}

func (a *aside) wholeTopic(topic, why string) *standing {
	s := a.topics[topic]
	if s == nil {
		s = &standing{topic: topic, whole: true}
		a.topics[topic] = s
	}
	s.why = why
	return s
}

func (a *aside) oneKey(topic, key string) *standing {
	keys := a.keys[topic]
	if keys == nil {
		keys = map[string]*standing{}
		a.keys[topic] = keys
	}
	s := keys[key]
	if s == nil {
		s = &standing{topic: topic, key: key}
		keys[key] = s
	}
	return s
}

// standTopic lets a whole topic stand aside: it has rows to release, or takes none for a while.
func (a *aside) standTopic(topic, why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wholeTopic(topic, why).generation++
}

// standKey lets a key stand aside, because the table holds rows of it.
func (a *aside) standKey(topic, key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.oneKey(topic, key).generation++
}

// settled notes that the events of these standings are in the table.
func (a *aside) settled(standings []*standing) {
	if len(standings) == 0 {
		return
	}
	a.mu.Lock()
	for _, s := range standings {
		s.unsettled--
	}
	a.mu.Unlock()
	signal(a.nudge)
}

// look gives the generation of a topic (key nil) or key; ok is false while an event of it waits to be settled, or when
// it does not stand aside at all.
func (a *aside) look(topic string, key *string) (generation uint64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.find(topic, key)
	if s == nil || s.unsettled > 0 {
		return 0, false
	}
	return s.generation, true
}

// open lets a topic or key go on, unless feed has parked more of it since the look.
func (a *aside) open(topic string, key *string, generation uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.find(topic, key)
	if s == nil || s.unsettled > 0 || s.generation != generation {
		return false
	}
	if s.whole {
		delete(a.topics, topic)
		return true
	}
	delete(a.keys[topic], s.key)
	if len(a.keys[topic]) == 0 {
		delete(a.keys, topic)
	}
	return true
}

func (a *aside) find(topic string, key *string) *standing {
	if key == nil {
		return a.topics[topic]
	}
	return a.keys[topic][*key]
}

// postpone keeps the runner from trying a topic before t.
func (a *aside) postpone(topic, why string, t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.wholeTopic(topic, why)
	s.retryAt = t
}

// askAgain keeps the runner from asking for a topic in trouble too often: shortly at first, for it may be on its way,
// then longer.
func (a *aside) askAgain(topic, why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.wholeTopic(topic, why)
	s.patience = min(max(2*s.patience, askFirst), askLast)
	s.retryAt = time.Now().Add(s.patience)
}

// releasing says that the topic's rows are being released: new events are behind them, no longer held.
func (a *aside) releasing(topic string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.topics[topic]; s != nil {
		s.why, s.patience = whyReleasing, 0
	}
}

// dueTopics are the topics that stand aside and may be tried now.
func (a *aside) dueTopics(now time.Time) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var due []string
	for name, s := range a.topics {
		if !s.retryAt.After(now) {
			due = append(due, name)
		}
	}
	return due
}

// nextTopic is how long no topic that stands aside is to be tried: at most so long, and lookEvery when one may be tried
// already, for what it waits for tells the runner when it is there.
func (a *aside) nextTopic(now time.Time, most time.Duration) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.topics {
		until := s.retryAt.Sub(now)
		if until <= 0 {
			until = lookEvery
		}
		most = min(most, until)
	}
	return most
}

// keysOf are the keys of a topic that stand aside.
func (a *aside) keysOf(topic string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var keys []string
	for key := range a.keys[topic] {
		keys = append(keys, key)
	}
	return keys
}

// topicsWithKeys are the topics of which single keys stand aside.
func (a *aside) topicsWithKeys() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var topics []string
	for topic := range a.keys {
		topics = append(topics, topic)
	}
	return topics
}
