package store

import (
	"math/big"
	"strconv"
)

// RingSlots is the number of partitions of events; a slot is 0 … RingSlots-1.
const RingSlots = 8

// Books count the rows that a cursor moves past, for each ring slot: how many, the sums of their seqs and versions, and
// the highest seq. The zero value is empty.
type Books struct {
	slots [RingSlots]slotBook
	rows  int64
}

type slotBook struct {
	rows, last int64
	sum, high  uint64 // sum of seqs as a 128-bit number: high<<64 + sum
	versions   uint64 // sum of versions, 32 bits each
	versioned  int64  // rows whose version is in it
}

// Count enters one row. A slot outside the ring is refused by the table; it would be entered under slot 0.
func (b *Books) Count(slot int16, seq int64, version uint32) {
	if slot < 0 || slot >= RingSlots {
		slot = 0
	}
	s := &b.slots[slot]
	s.rows++
	s.add(uint64(seq), 0)
	s.last = max(s.last, seq)
	s.versions += uint64(version)
	s.versioned++
	b.rows++
}

func (s *slotBook) add(low, high uint64) {
	before := s.sum
	s.sum += low
	if s.sum < before {
		s.high++
	}
	s.high += high
}

// Add enters all that other holds.
func (b *Books) Add(other *Books) {
	for i := range b.slots {
		s, o := &b.slots[i], &other.slots[i]
		s.rows += o.rows
		s.add(o.sum, o.high)
		s.last = max(s.last, o.last)
		s.versions += o.versions
		s.versioned += o.versioned
	}
	b.rows += other.rows
}

// Rows is the number of rows entered.
func (b *Books) Rows() int64 { return b.rows }

// bookColumns are books as parallel arrays for the settle statement: only slots with rows. Sums are decimal text.
type bookColumns struct {
	slots     []int16
	rows      []int64
	sums      []string
	lasts     []int64
	versioned []int64
	versions  []string
}

func (b *Books) columns() (c bookColumns) {
	for i := range b.slots {
		s := &b.slots[i]
		if s.rows == 0 {
			continue
		}
		sum := new(big.Int).Lsh(new(big.Int).SetUint64(s.high), 64)
		sum.Add(sum, new(big.Int).SetUint64(s.sum))
		c.slots = append(c.slots, int16(i))
		c.rows = append(c.rows, s.rows)
		c.sums = append(c.sums, sum.String())
		c.lasts = append(c.lasts, s.last)
		c.versioned = append(c.versioned, s.versioned)
		c.versions = append(c.versions, strconv.FormatUint(s.versions, 10))
	}
	return c
}
