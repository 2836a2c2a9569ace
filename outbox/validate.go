package outbox

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// DefaultMaxBytes is the largest record that a Kafka broker takes unless it was told otherwise: its message.max.bytes,
// which counts the record with its key, its headers and the batch around it, before compression.
const DefaultMaxBytes = 1048588

// validate returns an *InvalidError with every fault of every event, or nil.
func validate(events []Event, maxBytes int, relays HeaderNames) error {
	relays = relays.inFull()
	invalid := &InvalidError{Events: len(events)}
	ids := make(map[string]int)
	for i, event := range events {
		add := func(field, problem string, args ...any) {
			invalid.Faults = append(invalid.Faults, Fault{Index: i, ID: event.ID, Field: field, Problem: fmt.Sprintf(problem, args...)})
		}
		if event.ID != "" {
			id := strings.ToLower(event.ID)
			if first, twice := ids[id]; twice {
				add("ID", "is that of event %d too, and consumers would drop one of them", first)
			} else {
				ids[id] = i
			}
		}
		event.check(relays, add)
		if size := event.recordSize(relays); maxBytes > 0 && size > maxBytes {
			add(event.largestField(), "is too large: the record has %d bytes and the limit is %d (Writer.MaxBytes, which has to follow the topic's max.message.bytes)", size, maxBytes)
		}
	}
	if len(invalid.Faults) == 0 {
		return nil
	}
	return invalid
}

func (e Event) check(relays HeaderNames, add func(field, problem string, args ...any)) {
	if e.ID != "" && !isUUID(e.ID) {
		add("ID", "is not a UUID such as 0198c0de-0000-7000-8000-000000000000")
	}
	checkTopic(e.Topic, add)
	checkText("Key", e.Key, add)
	if e.EmptyKey && e.Key != "" {
		add("EmptyKey", "is set and Key is not empty: choose one")
	}
	checkText("Type", e.Type, add)
	switch {
	case e.Payload.IsZero():
		add("Payload", "is missing: use outbox.JSON, RawJSON or Binary, or outbox.Tombstone() for a null record")
	case e.Payload.err != nil:
		add("Payload", "%v", e.Payload.err)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		checkHeader(name, e.Headers[name], relays, add)
	}
	if e.Partition != nil && *e.Partition < 0 {
		add("Partition", "is %d: partitions are counted from 0", *e.Partition)
	}
	if year := e.DeliverAt.UTC().Year(); !e.DeliverAt.IsZero() && (year < 1 || year > 9999) {
		add("DeliverAt", "is in the year %d: only 1 to 9999 can be written", year)
	}
}

// checkTopic is Kafka's own rule (org.apache.kafka.common.internals.Topic).
func checkTopic(topic string, add func(field, problem string, args ...any)) {
	switch {
	case topic == "":
		add("Topic", "is missing")
		return
	case topic == "." || topic == "..":
		add("Topic", "is %q, which Kafka refuses", topic)
		return
	case len(topic) > 249:
		add("Topic", "has %d characters and Kafka takes 249", len(topic))
		return
	}
	for _, r := range topic {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-' {
			add("Topic", "%q contains %q: Kafka takes letters, digits, dots, underscores and dashes", topic, r)
			return
		}
	}
}

// checkText refuses what a PostgreSQL text column refuses.
func checkText(field, text string, add func(field, problem string, args ...any)) {
	switch {
	case !utf8.ValidString(text):
		add(field, "is not UTF-8")
	case strings.ContainsRune(text, 0):
		add(field, "contains a zero byte, which PostgreSQL cannot store")
	}
}

func checkHeader(name, value string, relays HeaderNames, add func(field, problem string, args ...any)) {
	field := fmt.Sprintf("Headers[%q]", name)
	switch {
	case name == "":
		add("Headers", "has an empty name")
	case !utf8.ValidString(name):
		add(field, "has a name that is not UTF-8")
	case relays.has(name):
		add(field, "is written by the relay, from ID, Type and the time of the insert: leave it out")
	}
	if !utf8.ValidString(value) {
		add(field, "is not UTF-8")
	}
}

// recordSize is the length of a batch with this record alone, as the broker measures it: batch overhead 61, then the
// record of Kafka's message format 2 with the headers that the relay adds.
func (e Event) recordSize(relays HeaderNames) int {
	const (
		batchOverhead = 61
		createdAt     = len("2026-01-02T03:04:05.123456Z")
	)
	size := 1 + 1 + 1 // attributes, timestamp and offset within the batch
	size += varint(len(e.Key)) + len(e.Key)
	size += varint(len(e.Payload.bytes)) + len(e.Payload.bytes)
	headers := len(e.Headers)
	add := func(name string, value int) {
		if name != "" {
			headers++
			size += headerSize(name, value)
		}
	}
	add(relays.ID, 36)
	add(relays.CreatedAt, createdAt)
	if e.Type != "" {
		add(relays.Type, len(e.Type))
	}
	size += varint(headers)
	for name, value := range e.Headers {
		size += headerSize(name, len(value))
	}
	return batchOverhead + varint(size) + size
}

func headerSize(name string, value int) int {
	return varint(len(name)) + len(name) + varint(value) + value
}

// varint is the length of n in Kafka's zigzag encoding.
func varint(n int) int {
	length := 1
	for n <<= 1; n >= 1<<7; n >>= 7 {
		length++
	}
	return length
}

// largestField names the one to look at first when a record is too large.
func (e Event) largestField() string {
	headers := 0
	for name, value := range e.Headers {
		headers += len(name) + len(value)
	}
	switch max(len(e.Payload.bytes), len(e.Key), len(e.Type), headers) {
	case len(e.Payload.bytes):
		return "Payload"
	case len(e.Key):
		return "Key"
	case len(e.Type):
		return "Type"
	}
	return "Headers"
}
