package franz

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/lanes"
)

// The caller reuses all that it hands over, and null is not empty, whether the slot has room or needs a buffer.
func TestSlot_CopiesWhatTheCallerReuses(t *testing.T) {
	l := lane(t)
	for _, size := range []int{0, 1, 300, usualBytes, usualBytes + 1, 5000, 1_000_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			value := bytes.Repeat([]byte("v"), size)
			r := &publisher.Record{Topic: "t", Key: []byte{}, Value: value}
			for i := range 2 * usualHeaders {
				r.Headers = append(r.Headers, publisher.Header{Key: "h", Value: []byte{byte(i)}})
			}
			r.Headers[1].Value = nil
			s, names := (&shelf{}).take(), &names{}
			s.fill(r, l, nil, names)
			want := bytes.Clone(value)
			clear(value)
			for i := range r.Headers {
				clear(r.Headers[i].Value)
			}
			if !bytes.Equal(s.record.Value, want) || s.record.Value == nil {
				t.Errorf("value of %d bytes is not what it was", size)
			}
			if s.record.Key == nil || len(s.record.Key) > 0 {
				t.Errorf("an empty key became %v", s.record.Key)
			}
			for i, h := range s.record.Headers {
				if i == 1 && h.Value != nil || i != 1 && !bytes.Equal(h.Value, []byte{byte(i)}) {
					t.Errorf("header %d is %v", i, h.Value)
				}
			}
			s.empty()
			s.fill(&publisher.Record{Topic: "t", Value: nil}, l, nil, names)
			if s.record.Value != nil || s.record.Key != nil || len(s.record.Headers) > 0 || s.large != nil {
				t.Errorf("something of the record before is left: %+v", s.record)
			}
		})
	}
}

// lane is one of a topic that nobody has to be asked about.
func lane(t *testing.T) *lanes.Lane {
	t.Helper()
	topics := lanes.WatchTopics(func(_ context.Context, names []string) (map[string]lanes.Described, error) {
		return map[string]lanes.Described{names[0]: {Topic: publisher.Topic{Name: names[0], Partitions: 1}}}, nil
	}, func(string, int32) bool { return true })
	t.Cleanup(topics.Stop)
	all := lanes.New(lanes.Options{Topics: topics, Dead: make(chan struct{}), Timeout: time.Minute, Flush: func() {}})
	l, err := all.Enter(t.Context(), &publisher.Record{Topic: "t", Key: []byte("k"), Partition: publisher.AnyPartition})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestBufferOf_HasRoomAndLittleMore(t *testing.T) {
	for _, size := range []int{513, 640, 641, 1024, 1025, 4097, 65_536, 1_000_000, 1 << largest, 1<<largest + 1, 40_000_000} {
		b := bufferOf(size)
		if len(b.bytes) < size || len(b.bytes) > size+size/4 {
			t.Errorf("a buffer for %d bytes has %d", size, len(b.bytes))
		}
		if b.class >= len(buffers) {
			t.Errorf("a buffer for %d bytes has class %d of %d", size, b.class, len(buffers))
		}
		b.release()
	}
}

// What was used last is in the CPU's caches. And after a burst not all of it is kept.
func TestShelf_GivesWhatWasPutLastAndKeepsFew(t *testing.T) {
	var s shelf
	var all []*slot
	for range 3 * shelved {
		all = append(all, s.take())
	}
	for _, one := range all {
		s.put(one)
	}
	s.flush()
	if n := len(s.free); n > shelved+handful {
		t.Errorf("%d slots are kept", n)
	}
	last := s.free[len(s.free)-1]
	if got := s.take(); got != last {
		t.Error("another one than the last was taken")
	}
}
