package torture

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/torture/journal"
	"github.com/outboxrelay/relay/outbox"
)

// world is what events are about: topics, keys, and the secrets in them.
type world struct {
	topics map[string]int32 // partitions
	keys   []key            // hot ones first
	late   []key            // of topics that are missing at first
	again  []string         // where replays go; nobody reads them. The first is there, the other never
	secret string           // stands in each payload of JSON
}

// key of a topic. Each key belongs to one topic, so its order is that of a partition.
type key struct {
	name       string
	topic      string
	serialised bool
}

const (
	keyCount  = 64
	lateCount = 4
)

// newWorld names topics and keys. The prefix makes topics of different runs different.
func newWorld(prefix, keySecret, payloadSecret string) *world {
	w := &world{topics: map[string]int32{prefix + "-a": 4, prefix + "-b": 3, prefix + "-c": 1}, secret: payloadSecret,
		again: []string{prefix + "-again", prefix + "-nowhere"}}
	punctual := slices.Sorted(maps.Keys(w.topics))
	for i := range keyCount {
		w.keys = append(w.keys, key{name: fmt.Sprintf("%s/%03d", keySecret, i), topic: punctual[i%len(punctual)], serialised: i%2 == 0})
	}
	for i := range lateCount {
		topic := fmt.Sprintf("%s-late-%d", prefix, i/2+1)
		w.topics[topic] = 2
		w.late = append(w.late, key{name: fmt.Sprintf("%s/late-%d", keySecret, i), topic: topic, serialised: true})
	}
	return w
}

// punctual topics are there from the start.
func (w *world) punctual() []string {
	late := w.lateTopics()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(w.topics)), func(name string) bool { return slices.Contains(late, name) })
}

// lateTopics are missing at first.
func (w *world) lateTopics() (names []string) {
	for _, k := range w.late {
		if !slices.Contains(names, k.topic) {
			names = append(names, k.topic)
		}
	}
	return names
}

// serialised gives the names of all serialised keys.
func (w *world) serialised() (names []string) {
	for _, k := range slices.Concat(w.keys, w.late) {
		if k.serialised {
			names = append(names, k.name)
		}
	}
	return names
}

// partitionOf is where Kafka's own Java client would put the key.
func (w *world) partitionOf(topic, name string) int32 {
	n := int(w.topics[topic])
	return int32(kgo.StickyKeyPartitioner(nil).ForTopic(topic).Partition(&kgo.Record{Key: []byte(name)}, n))
}

// made is an event with its line for the ledger.
type made struct {
	outbox.Event
	line journal.Event
}

// make makes an event of a key; seq is 0 where there is no order.
func (w *world) make(random *rand.Rand, k key, seq int64) made {
	m := made{Event: outbox.Event{ID: outbox.NewID(), Topic: k.topic, Key: k.name, Payload: w.payload(random, seq), Headers: headers(random)}}
	if random.IntN(2) == 0 {
		m.Type = "Tortured"
	}
	m.line = journal.Event{ID: m.ID, Topic: k.topic, Key: &k.name, Seq: seq, Ordered: k.serialised && seq > 0,
		Partition: w.partitionOf(k.topic, k.name)}
	return m
}

// unkeyed makes an event without a key, or with an empty one.
func (w *world) unkeyed(random *rand.Rand) made {
	m := w.make(random, key{topic: w.keys[random.IntN(len(w.keys))].topic}, 0)
	m.line.Key, m.line.Partition = nil, -1
	if random.IntN(3) == 0 {
		m.EmptyKey = true
		m.line.Key = new(string)
	}
	return m
}

// later schedules an event within five seconds. Its order is nobody's promise.
func (m *made) later(random *rand.Rand) {
	m.DeliverAt = time.Now().Add(time.Duration(random.Int64N(int64(5 * time.Second)))).Truncate(time.Microsecond)
	m.line.Due, m.line.Ordered = m.DeliverAt.UnixMicro(), false
}

// seal fills in what depends on the whole event.
func (m *made) seal() {
	var name []byte
	if m.Key != "" || m.EmptyKey {
		name = []byte(m.Key)
	}
	list := []journal.Header{{Name: "id", Value: m.ID}}
	if m.Type != "" {
		list = append(list, journal.Header{Name: "type", Value: m.Type})
	}
	for _, header := range slices.Sorted(maps.Keys(m.Headers)) {
		list = append(list, journal.Header{Name: header, Value: m.Headers[header]})
	}
	payload := m.Payload.Bytes()
	m.line.Sum = journal.Sum(m.Topic, name, list, payload)
	m.line.Bytes = len(name) + len(payload)
}

// letters make payloads that a careless hand changes: escapes that jsonb refuses or rewrites, spaces, other alphabets.
var letters = []string{`a`, `b`, `c`, `0`, `  `, `\u0000`, `\ud800`, `\"`, `\\`, `\/`, `é`, `漢`, `🙂`, `<`, `&`, `\n`, `\u2028`}

// payload draws kind and size: mostly small text, sometimes nothing, now and then nearly what Kafka takes at most.
func (w *world) payload(random *rand.Rand, seq int64) outbox.Payload {
	switch n := random.IntN(1000); {
	case n < 20:
		return outbox.Tombstone()
	case n < 50:
		return outbox.Binary(nil)
	case n < 52:
		return outbox.Binary(noise(random, 900_000+random.IntN(140_000)))
	case n < 100:
		return outbox.Binary(noise(random, random.IntN(20_000)))
	case n < 300:
		return outbox.Binary(noise(random, random.IntN(2_000)))
	}
	var text strings.Builder
	fmt.Fprintf(&text, `{"seq":%d, "secret" :"%s","text":"`, seq, w.secret)
	for range random.IntN(150) {
		text.WriteString(letters[random.IntN(len(letters))])
	}
	text.WriteString(`" }`)
	return outbox.RawJSON([]byte(text.String()))
}

func noise(random *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

func headers(random *rand.Rand) map[string]string {
	n := random.IntN(8) - 3
	if n <= 0 {
		return nil
	}
	h := map[string]string{}
	for range n {
		h[fmt.Sprintf("x-%d", random.IntN(50))] = strings.Repeat("ž\r\n\"", random.IntN(6))
	}
	return h
}
