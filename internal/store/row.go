package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// rowColumns are the columns of a page, in the order Row decodes them; their binary wire form is what decode reads.
const rowColumns = `seq, slot, id, topic, key, type, payload, payload_bytes, headers, partition, deliver_at, created_at, xmin`

const rowWidth = 13

// Row is one event as it lies on the wire. Every slice points into the connection's read buffer and is valid only
// until the next row; nil is SQL's null.
type Row struct {
	Seq          int64
	Slot         int16
	ID           [16]byte
	Topic        []byte
	Key          []byte
	Type         []byte
	Payload      []byte // json, as written; at most one of the two payloads is not nil
	PayloadBytes []byte
	Headers      []byte    // a JSON object
	Partition    int32     // -1: null
	DeliverAt    time.Time // zero: null
	CreatedAt    time.Time
	Version      uint32 // xmin: the transaction that wrote the row as it is; its own, or a savepoint's, unless it was edited
}

// Value is the record's value: whichever payload is there, or nil.
func (r *Row) Value() []byte {
	if r.Payload != nil {
		return r.Payload
	}
	return r.PayloadBytes
}

// rowOverhead is what a row costs besides its bytes, in our books and in the Kafka client's queue.
const rowOverhead = 256

// Size is what the row counts for in the budget of bytes in flight.
func (r *Row) Size() int64 {
	return rowOverhead + int64(len(r.Key)+len(r.Payload)+len(r.PayloadBytes)+len(r.Headers)+len(r.Type))
}

// decode reads the binary columns of a page query's row.
func (r *Row) decode(v [][]byte) error {
	if len(v) != rowWidth {
		return fmt.Errorf("a page row has %d columns, not %d", len(v), rowWidth)
	}
	if len(v[0]) != 8 || len(v[1]) != 2 || len(v[2]) != 16 || v[3] == nil || len(v[11]) != 8 || len(v[12]) != 4 {
		return errors.New("a page row is not in the binary form that was asked for")
	}
	r.Seq = int64(binary.BigEndian.Uint64(v[0]))
	r.Slot = int16(binary.BigEndian.Uint16(v[1]))
	copy(r.ID[:], v[2])
	r.Topic, r.Key, r.Type = v[3], v[4], v[5]
	r.Payload, r.PayloadBytes, r.Headers = v[6], v[7], v[8]
	r.Partition = -1
	if len(v[9]) == 4 {
		r.Partition = int32(binary.BigEndian.Uint32(v[9]))
	}
	r.DeliverAt = timestamp(v[10])
	r.CreatedAt = timestamp(v[11])
	r.Version = binary.BigEndian.Uint32(v[12])
	return nil
}

// postgresEpoch is the zero of binary timestamps: 2000-01-01, in microseconds of Unix time.
const postgresEpoch = 946_684_800_000_000

// timestamp reads a binary timestamptz: microseconds since 2000-01-01. Infinity becomes the far end of what Kafka and
// RFC 3339 can write; null becomes the zero time.
func timestamp(b []byte) time.Time {
	if len(b) != 8 {
		return time.Time{}
	}
	us := int64(binary.BigEndian.Uint64(b))
	const far = 252_455_615_999_999_999 // 9999-12-31
	us = max(min(us, far), -far)
	return time.UnixMicro(us + postgresEpoch).UTC()
}
