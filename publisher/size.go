package publisher

import "math/bits"

// batchOverhead is what a batch (message format 2) costs before its first record.
const batchOverhead = 61

// BatchSize is the size in bytes of a batch that holds only this record, uncompressed: what a broker compares with
// max.message.bytes. Several records in one batch take at most the sum of their BatchSize.
func (r *Record) BatchSize() int {
	n := 1 + 1 + 1 // attributes, timestamp delta 0, offset delta 0
	n += nullableSize(r.Key)
	n += nullableSize(r.Value)
	n += varintSize(len(r.Headers))
	for i := range r.Headers {
		n += varintSize(len(r.Headers[i].Key)) + len(r.Headers[i].Key)
		n += nullableSize(r.Headers[i].Value)
	}
	return batchOverhead + varintSize(n) + n
}

func nullableSize(b []byte) int {
	if b == nil {
		return varintSize(-1)
	}
	return varintSize(len(b)) + len(b)
}

// varintSize is the length of a zigzag varint.
func varintSize(v int) int {
	return (bits.Len64(uint64(v)<<1^uint64(v>>63)|1) + 6) / 7
}
