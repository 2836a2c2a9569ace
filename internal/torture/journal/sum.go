package journal

import (
	"encoding/binary"
	"hash"
	"hash/crc32"
)

// Header of a record.
type Header struct{ Name, Value string }

// Sum is a checksum over all of an event that must arrive as it was written. A nil key or payload is not an empty one.
// Headers are those of the event: its id and type and its own, in the order in which they arrive.
func Sum(topic string, key []byte, headers []Header, payload []byte) uint32 {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	add(sum, []byte(topic))
	add(sum, key)
	for _, h := range headers {
		add(sum, []byte(h.Name))
		add(sum, []byte(h.Value))
	}
	add(sum, payload)
	return sum.Sum32()
}

// add writes the length first, so that no two lists of parts look alike; nil has a length of its own.
func add(sum hash.Hash32, part []byte) {
	length := int64(len(part))
	if part == nil {
		length = -1
	}
	var prefix [8]byte
	binary.BigEndian.PutUint64(prefix[:], uint64(length))
	_, _ = sum.Write(prefix[:]) // never fails
	_, _ = sum.Write(part)
}
