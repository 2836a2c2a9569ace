package publisher

// Partition is the partition Java's default partitioner gives a key: the same key goes to the same partition whoever
// sends it. A nil key has no partition of its own and must be spread by the client; an empty key is a key. n must be
// above zero.
func Partition(key []byte, n int32) int32 {
	// Java's toPositive clears the sign bit; abs would send two hashes elsewhere (and has no answer for the lowest).
	return (murmur2(key) & 0x7fffffff) % n
}

// murmur2 is the 32-bit MurmurHash2 with the seed of Kafka's Java client (org.apache.kafka.common.utils.Utils).
func murmur2(data []byte) int32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(data))
	for len(data) >= 4 {
		k := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
		data = data[4:]
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return int32(h)
}
