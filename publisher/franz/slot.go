package franz

import (
	"context"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/lanes"
)

// mostKept is the largest buffer that a slot keeps.
const mostKept = 64 << 10

// slot is a record on its way, and what is to be known when it is decided. It is used again afterwards: franz-go touches
// a record no more once its promise ran. It carries nothing of ours but the context of a record, so the slot is that.
type slot struct {
	context.Context
	record kgo.Record
	tag    any
	lane   *lanes.Lane
	bytes  []byte // holds key, value and the values of headers
}

func newSlot() any {
	return &slot{Context: context.Background(), bytes: make([]byte, 0, 512)} // not nil: that would make null of an empty key
}

// fill copies what franz-go needs of a record: the caller may reuse all of it.
func (s *slot) fill(r *publisher.Record, l *lanes.Lane, tag any, names *names) {
	size := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		size += len(r.Headers[i].Value)
	}
	if cap(s.bytes) < size {
		s.bytes = make([]byte, 0, size+size/4)
	}
	s.tag, s.lane, s.bytes = tag, l, s.bytes[:0]
	headers := s.record.Headers[:0]
	s.record = kgo.Record{Topic: *l.Topic(), Partition: l.Partition(), Timestamp: r.Timestamp, Context: s,
		Key: s.copied(r.Key), Value: s.copied(r.Value)}
	for i := range r.Headers {
		headers = append(headers, kgo.RecordHeader{Key: names.of(r.Headers[i].Key), Value: s.copied(r.Headers[i].Value)})
	}
	s.record.Headers = headers
}

// copied keeps null and empty apart.
func (s *slot) copied(b []byte) []byte {
	if b == nil {
		return nil
	}
	from := len(s.bytes)
	s.bytes = append(s.bytes, b...)
	return s.bytes[from:len(s.bytes):len(s.bytes)]
}

// empty forgets the record, and what of the memory is more than most records need.
func (s *slot) empty() {
	s.tag, s.lane = nil, nil
	if cap(s.bytes) > mostKept {
		s.bytes = make([]byte, 0, 512)
	}
	headers := s.record.Headers
	clear(headers)
	s.record = kgo.Record{Headers: headers[:0]}
}

// names keeps the names of headers, of which there are few, so that each is copied once.
type names struct{ known map[string]string }

func (n *names) of(name string) string {
	if known, ok := n.known[name]; ok {
		return known
	}
	if n.known == nil || len(n.known) >= 1000 {
		n.known = map[string]string{}
	}
	name = strings.Clone(name)
	n.known[name] = name
	return name
}
