package franz

import (
	"context"
	"math/bits"
	"sync"
)

const (
	// handful is how many slots change hands under one lock.
	handful = 64
	// shelved is how many slots wait to be used again at most: some megabytes.
	shelved = 8 * 1024
)

// shelf keeps slots that are free. What was put back last is taken first: a CPU's cache may still hold it, while
// sync.Pool gives the sender those that were used longest ago. One goroutine takes, one puts.
type shelf struct {
	mu   sync.Mutex
	free []*slot

	taken []*slot // owned by who takes
	back  []*slot // owned by who puts
}

func (s *shelf) take() *slot {
	if len(s.taken) == 0 {
		s.mu.Lock()
		from := max(0, len(s.free)-handful)
		s.taken = append(s.taken, s.free[from:]...)
		s.free = s.free[:from]
		s.mu.Unlock()
	}
	n := len(s.taken) - 1
	if n < 0 {
		return &slot{Context: context.Background()}
	}
	one := s.taken[n]
	s.taken = s.taken[:n]
	return one
}

// put takes a slot back, whose record is empty. It can be taken after the next flush.
func (s *shelf) put(one *slot) {
	if s.back = append(s.back, one); len(s.back) >= handful {
		s.flush()
	}
}

func (s *shelf) flush() {
	s.mu.Lock()
	if len(s.free) < shelved {
		s.free = append(s.free, s.back...)
	}
	s.mu.Unlock()
	clear(s.back)
	s.back = s.back[:0]
}

// buffer is memory for a record that a slot has no room for.
type buffer struct {
	bytes []byte
	class int
}

// largest is the size up to which buffers are used again, as a power of two: records beyond are rare.
const largest = 24

// buffers are pools by size, four to each doubling: a record keeps at most a quarter more than it needs.
var buffers [4 * largest]sync.Pool

// bufferOf gives at least so many bytes, which are more than a slot's own.
func bufferOf(size int) *buffer {
	power := bits.Len(uint(size-1)) - 1 // 2^power < size <= 2^(power+1)
	if power >= largest {
		return &buffer{bytes: make([]byte, size), class: -1}
	}
	step := 1 << (power - 2)
	steps := (size - 1<<power + step - 1) / step // 1 to 4
	class := 4*power + steps - 1
	if b, ok := buffers[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{bytes: make([]byte, 1<<power+steps*step), class: class}
}

func (b *buffer) release() {
	if b.class >= 0 {
		buffers[b.class].Put(b)
	}
}
