//go:build cgo && !jemalloc

package librdkafka

// Allocator is who hands out the memory of C.
const Allocator = "libc"
