package outbox

import (
	"crypto/rand"
	"encoding/hex"
	"time"
)

// Event is what becomes one record in Kafka. Only Topic and Payload are required.
type Event struct {
	// ID is the identity by which consumers recognize a copy: a UUID in its usual form of 36 characters. Empty: a
	// new one. Take it from [NewID] if you need to know it, or from your own command to make a retry write the same
	// identity. It travels in the header id.
	ID string

	// Topic is where the record goes: up to 249 letters, digits, dots, underscores and dashes.
	Topic string

	// Key decides the partition, and records of one key keep their order. Empty: no key (null), so any partition and
	// no order; see EmptyKey. It is text: UTF-8 without a zero byte.
	Key string

	// EmptyKey makes the key the empty string instead of null. Few want that.
	EmptyKey bool

	// Type is the kind of event, for consumers to choose by. It travels in the header type. Empty: no such header.
	Type string

	// Payload is the record's value: [JSON], [RawJSON], [Binary] or [Tombstone]. The zero Payload is refused, so that
	// a forgotten one is not a deletion.
	Payload Payload

	// Headers go with the record, in the order of their names, after those that the relay writes. The names id, type
	// and created_at are the relay's and are refused; Writer.Headers says where it has others.
	Headers map[string]string

	// Partition sends the record to this partition whatever its key: [Partition] makes one from a number. nil: the
	// key decides.
	Partition *int32

	// DeliverAt is the earliest time of publishing, to the microsecond. Zero: at once. A scheduled event does not
	// hold back later ones of its key.
	DeliverAt time.Time
}

// Partition returns a pointer to n, for [Event].Partition.
func Partition(n int32) *int32 { return &n }

// NewID returns a new identity for [Event].ID: a UUID of version 7, which begins with the time, so that a consumer's
// table of identities grows at one end.
func NewID() string {
	var id [16]byte
	// Never fails: the program ends when the system has no randomness.
	_, _ = rand.Read(id[6:])
	ms := uint64(time.Now().UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6] = id[6]&0x0f | 0x70 // version 7
	id[8] = id[8]&0x3f | 0x80 // variant of RFC 9562

	text := make([]byte, 36)
	hex.Encode(text[0:8], id[0:4])
	hex.Encode(text[9:13], id[4:6])
	hex.Encode(text[14:18], id[6:8])
	hex.Encode(text[19:23], id[8:10])
	hex.Encode(text[24:36], id[10:16])
	for _, dash := range []int{8, 13, 18, 23} {
		text[dash] = '-'
	}
	return string(text)
}

// isUUID takes the one form that every reader of the record understands: 8-4-4-4-12 hexadecimal digits.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
			continue
		}
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}
