package store

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"time"
)

// Candidate is a settlement that Kafka decides about (delivery exactly_once): it is prepared in the cursor's row
// before its transaction is committed, and settled once the transaction is known to be.
type Candidate struct {
	// Batch is the number that the transaction's progress record carries. No two committed batches have the same.
	Batch int64
	// After is the number in the last progress record that was committed when this one was prepared.
	After int64

	Settlement Settlement
}

// candidateText is the stored form. Its names are part of the schema: an older relay's candidate has to be understood.
type candidateText struct {
	Batch     int64        `json:"batch"`
	After     int64        `json:"after"`
	From      string       `json:"from"`
	To        *string      `json:"to,omitempty"`
	AfterSeq  int64        `json:"after_seq"`
	Floor     int64        `json:"floor"`
	AnchorXID uint64       `json:"anchor_xid"`
	AnchorSeq int64        `json:"anchor_seq"`
	Books     []bookText   `json:"books"`
	Parked    []parkedText `json:"parked,omitempty"`
}

type bookText struct {
	Slot int16  `json:"slot"`
	Rows int64  `json:"rows"`
	Sum  string `json:"sum"`
	Last int64  `json:"last"`
	// A candidate of an older relay has neither.
	Versioned int64  `json:"versioned,omitempty"`
	Versions  string `json:"versions,omitempty"`
}

type parkedText struct {
	Slot   int16     `json:"slot"`
	Seq    int64     `json:"seq"`
	State  string    `json:"state"`
	Reason string    `json:"reason,omitempty"`
	Due    time.Time `json:"due,omitzero"`
}

func (c *Candidate) encode() ([]byte, error) {
	m := &c.Settlement
	t := candidateText{Batch: c.Batch, After: c.After, From: m.Cursor.From.String(), AfterSeq: m.Cursor.After,
		Floor: m.Floor, AnchorXID: m.Newest.XID, AnchorSeq: m.Newest.Seq}
	if m.Cursor.Open {
		to := m.Cursor.To.String()
		t.To = &to
	}
	b := m.Books.columns()
	for i := range b.slots {
		t.Books = append(t.Books, bookText{b.slots[i], b.rows[i], b.sums[i], b.lasts[i], b.versioned[i], b.versions[i]})
	}
	for _, p := range m.Parked {
		t.Parked = append(t.Parked, parkedText(p))
	}
	text, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("write down candidate %d: %w", c.Batch, err)
	}
	return text, nil
}

// parseCandidate reads what encode wrote; nil for nothing.
func parseCandidate(text []byte) (*Candidate, error) {
	if text == nil {
		return nil, nil
	}
	var t candidateText
	if err := json.Unmarshal(text, &t); err != nil {
		return nil, fmt.Errorf("read the candidate: %w", err)
	}
	from, err := ParseSnapshot(t.From)
	if err != nil {
		return nil, fmt.Errorf("read the candidate: %w", err)
	}
	c := &Candidate{Batch: t.Batch, After: t.After, Settlement: Settlement{Cursor: At(from), Floor: t.Floor,
		Newest: Anchor{XID: t.AnchorXID, Seq: t.AnchorSeq}}}
	if t.To != nil {
		to, err := ParseSnapshot(*t.To)
		if err != nil {
			return nil, fmt.Errorf("read the candidate: %w", err)
		}
		c.Settlement.Cursor = c.Settlement.Cursor.Within(to, t.AfterSeq)
	}
	for _, b := range t.Books {
		if err := c.Settlement.Books.enter(b); err != nil {
			return nil, fmt.Errorf("read the candidate: %w", err)
		}
	}
	for _, p := range t.Parked {
		c.Settlement.Parked = append(c.Settlement.Parked, Parked(p))
	}
	return c, nil
}

// enter adds one slot's stored line.
func (b *Books) enter(line bookText) error {
	sum, ok := new(big.Int).SetString(line.Sum, 10)
	if !ok || sum.Sign() < 0 || sum.BitLen() > 128 || line.Slot < 0 || line.Slot >= RingSlots || line.Rows < 0 {
		return fmt.Errorf("books of slot %d: %d rows with the sum %q", line.Slot, line.Rows, line.Sum)
	}
	s := &b.slots[line.Slot]
	if line.Versioned != 0 {
		versions, err := strconv.ParseUint(line.Versions, 10, 64)
		if err != nil || line.Versioned != line.Rows {
			return fmt.Errorf("books of slot %d: %d versions with the sum %q", line.Slot, line.Versioned, line.Versions)
		}
		s.versioned += line.Versioned
		s.versions += versions
	}
	s.rows += line.Rows
	s.add(new(big.Int).And(sum, new(big.Int).SetUint64(1<<64-1)).Uint64(), new(big.Int).Rsh(sum, 64).Uint64())
	s.last = max(s.last, line.Last)
	b.rows += line.Rows
	return nil
}
