package franz

import (
	"context"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/lanes"
)

const (
	// usualBytes and usualHeaders are what a slot has room for in itself: most events. So a record on its way is one
	// piece of memory, and the CPU's caches have it or have it not once.
	usualBytes   = 512
	usualHeaders = 4
)

// slot is a record on its way, and what is to be known when it is decided. It is used again afterwards: franz-go touches
// a record no more once its promise ran. It carries nothing of ours but the context of a record, so the slot is that.
type slot struct {
	context.Context
	record kgo.Record
	tag    any
	lane   *lanes.Lane
	err    *publisher.Error // why it was not stored; nil: it was

	headers [usualHeaders]kgo.RecordHeader
	large   *buffer // holds what the slot itself has no room for; nil if it has
	room    [usualBytes]byte
}

// fill copies what franz-go needs of a record: the caller may reuse all of it.
func (s *slot) fill(r *publisher.Record, l *lanes.Lane, tag any, names *names) {
	size := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		size += len(r.Headers[i].Value)
	}
	free := s.room[:]
	if size > len(free) {
		s.large = bufferOf(size)
		free = s.large.bytes
	}
	s.tag, s.lane = tag, l
	k := &s.record
	k.Topic, k.Partition, k.Timestamp, k.Context = *l.Topic(), l.Partition(), r.Timestamp, s
	k.Key, free = copied(free, r.Key)
	k.Value, free = copied(free, r.Value)
	k.Headers = s.headers[:0]
	for i := range r.Headers {
		var value []byte
		value, free = copied(free, r.Headers[i].Value)
		k.Headers = append(k.Headers, kgo.RecordHeader{Key: names.of(r.Headers[i].Key), Value: value})
	}
}

// copied copies b to the beginning of free, and gives what is left of that. It keeps null and empty apart.
func copied(free, b []byte) (c, left []byte) {
	if b == nil {
		return nil, free
	}
	n := copy(free, b)
	return free[:n:n], free[n:]
}

// empty forgets the record.
func (s *slot) empty() {
	s.tag, s.lane, s.err = nil, nil, nil
	s.record = kgo.Record{}
	if s.large != nil {
		s.large.release()
		s.large = nil
	}
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
