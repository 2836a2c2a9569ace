//go:build cgo && jemalloc

package librdkafka

// librdkafka and its binding allocate several pieces of memory for each record and header. jemalloc does that in half
// the time of glibc's allocator, which makes a third of what an event costs the relay (docs/performance.md). The tag is
// for builds that have the library: `make release` and the image. It takes the place of malloc for all of the process's
// C code; Go's own memory is not touched.

// #cgo linux LDFLAGS: -l:libjemalloc.a -lstdc++ -lpthread -ldl -lm
// #cgo darwin LDFLAGS: -L/opt/homebrew/lib -L/usr/local/lib -ljemalloc
import "C"

// Allocator is who hands out the memory of C.
const Allocator = "jemalloc"
