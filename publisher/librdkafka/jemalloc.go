//go:build cgo && jemalloc

package librdkafka

// librdkafka and its binding allocate several pieces of memory for each record and header. jemalloc does that in half
// the time of glibc's allocator, which makes a third of what an event costs the relay (docs/performance.md). The tag is
// for builds that have the library: `make release` and the image. It takes the place of malloc for all of the process's
// C code; Go's own memory is not touched.

//
// As it comes, jemalloc keeps what is freed for ten seconds, in four arenas for each core, and looks at its age only
// while it is asked for memory. A drain of small events held 30 MiB more in that way than it used, one of large events
// 50 MiB. So there are two arenas, and a thread gives back what was free for a tenth of a second; it sleeps while there
// is none. That costs no CPU that could be measured, where giving back at once costs the half again
// (docs/decisions/0013-memory-of-c.md). MALLOC_CONF in the environment has the last word.

/*
#cgo linux LDFLAGS: -l:libjemalloc.a -lstdc++ -lpthread -ldl -lm
#cgo darwin LDFLAGS: -L/opt/homebrew/lib -L/usr/local/lib -ljemalloc
const char *malloc_conf = "narenas:2,background_thread:true,dirty_decay_ms:100,muzzy_decay_ms:0";
*/
import "C"

// Allocator is who hands out the memory of C.
const Allocator = "jemalloc"
