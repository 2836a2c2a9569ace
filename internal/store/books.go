package store

import "math/big"

// RingSlots is the number of partitions of events; a slot is 0 … RingSlots-1.
const RingSlots = 8

// Books count the rows that a cursor moves past, for each ring slot: how many, the sum of their seqs and the highest.
// The zero value is empty.
type Books struct {
	slots [RingSlots]slotBook
	rows  int64
}

type slotBook struct {
	rows, last int64
	sum, high  uint64 // sum of seqs as a 128-bit number: high<<64 + sum
}

// Count enters one row. A slot outside the ring is refused by the table; it would be entered under slot 0.
func (b *Books) Count(slot int16, seq int64) {
	if slot < 0 || slot >= RingSlots {
		slot = 0
	}
	s := &b.slots[slot]
	s.rows++
	s.add(uint64(seq), 0)
	s.last = max(s.last, seq)
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
	}
	b.rows += other.rows
}

// Rows is the number of rows entered.
func (b *Books) Rows() int64 { return b.rows }

// columns are the books as parallel arrays for the settle statement: only slots with rows. Sums are decimal text.
func (b *Books) columns() (slots []int16, rows []int64, sums []string, lasts []int64) {
	for i := range b.slots {
		s := &b.slots[i]
		if s.rows == 0 {
			continue
		}
		sum := new(big.Int).Lsh(new(big.Int).SetUint64(s.high), 64)
		sum.Add(sum, new(big.Int).SetUint64(s.sum))
		slots = append(slots, int16(i))
		rows = append(rows, s.rows)
		sums = append(sums, sum.String())
		lasts = append(lasts, s.last)
	}
	return slots, rows, sums, lasts
}
