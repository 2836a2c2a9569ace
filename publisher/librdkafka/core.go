//go:build cgo

package librdkafka

/*
#cgo noescape produce
#cgo nocallback produce
#cgo noescape reports
#cgo nocallback reports
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

// What is used of librdkafka's public interface. Its header lies within the binding's module, where cgo cannot find it.
// The contract suite fails on any of this that is not as librdkafka has it.

enum { V_END = 0, V_RKT = 2, V_PARTITION = 3, V_VALUE = 4, V_KEY = 5, V_OPAQUE = 6, V_MSGFLAGS = 7, V_TIMESTAMP = 8, V_HEADERS = 10 };
enum { F_COPY = 2 };
enum { EVENT_DR = 1, EVENT_LOG = 4, EVENT_ERROR = 8 };

typedef struct {
	int err;
	void *rkt;
	int32_t partition;
	void *payload;
	size_t len;
	void *key;
	size_t key_len;
	int64_t offset;
	void *opaque;
} message_t;

int rd_kafka_flush(void *rk, int timeout_ms);
int rd_kafka_set_log_queue(void *rk, void *queue);
int rd_kafka_fatal_error(void *rk, char *text, size_t size);
void *rd_kafka_topic_new(void *rk, const char *name, void *conf);
void rd_kafka_topic_destroy(void *rkt);
int rd_kafka_producev(void *rk, ...);
void *rd_kafka_headers_new(size_t count);
int rd_kafka_header_add(void *headers, const char *name, ssize_t name_size, const void *value, ssize_t value_size);
void rd_kafka_headers_destroy(void *headers);
void *rd_kafka_queue_get_main(void *rk);
void rd_kafka_queue_destroy(void *queue);
void rd_kafka_queue_yield(void *queue);
void rd_kafka_queue_io_event_enable(void *queue, int fd, const void *payload, size_t size);
void *rd_kafka_queue_poll(void *queue, int timeout_ms);
int rd_kafka_event_type(void *event);
void rd_kafka_event_destroy(void *event);
const message_t *rd_kafka_event_message_next(void *event);
int rd_kafka_event_error(void *event);
const char *rd_kafka_event_error_string(void *event);
int rd_kafka_event_error_is_fatal(void *event);
int rd_kafka_event_log(void *event, const char **facility, const char **text, int *level);

// produce hands one record over, which is copied. Pointers to C's memory come as numbers, and the others as characters,
// for cgo searches what is behind a void pointer. Headers are packed one after the other: the sizes of name and value
// (-1 is a null), then their bytes.
static int produce(uintptr_t rk, uintptr_t rkt, int32_t partition, const char *value, size_t value_size, const char *key,
                   size_t key_size, int64_t timestamp, const char *packed, int headers, uint64_t opaque) {
	void *list = NULL;
	int err;
	if (headers > 0) {
		list = rd_kafka_headers_new(headers);
		for (int i = 0; i < headers; i++) {
			int32_t size[2];
			memcpy(size, packed, sizeof size);
			packed += sizeof size;
			const char *content = packed + size[0];
			rd_kafka_header_add(list, packed, size[0], size[1] < 0 ? NULL : content, size[1] < 0 ? 0 : size[1]);
			packed = content + (size[1] < 0 ? 0 : size[1]);
		}
	}
	err = rd_kafka_producev((void *)rk, V_RKT, (void *)rkt, V_PARTITION, partition, V_MSGFLAGS, F_COPY, V_VALUE, value, value_size,
	                        V_KEY, key, key_size, V_TIMESTAMP, timestamp, V_HEADERS, list,
	                        V_OPAQUE, (void *)(uintptr_t)opaque, V_END);
	if (err && list)
		rd_kafka_headers_destroy(list);
	return err;
}

typedef struct {
	uint64_t opaque;
	int64_t offset;
	int32_t err;
} report_t;

// reports takes what there is, without waiting, and returns how many reports it wrote: most of them fit when there is no
// event left. An event of another kind is left in *event, for the caller to look at and to destroy.
static int reports(void *queue, void **event, report_t *into, int most) {
	int n = 0;
	for (;;) {
		const message_t *m;
		if (!*event && !(*event = rd_kafka_queue_poll(queue, 0)))
			return n;
		if (rd_kafka_event_type(*event) != EVENT_DR)
			return n;
		while (n < most && (m = rd_kafka_event_message_next(*event))) {
			into[n].opaque = (uint64_t)(uintptr_t)m->opaque;
			into[n].offset = m->offset;
			into[n].err = m->err;
			n++;
		}
		if (n == most)
			return n;
		rd_kafka_event_destroy(*event);
		*event = NULL;
	}
}
*/
import "C"

import (
	"encoding/binary"
	"fmt"
	"os"
	"reflect"
	"time"
	"unsafe"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/publisher"
)

// core is librdkafka's own client beneath the binding's. Records and reports go through it, for the binding spends as
// much on each as librdkafka itself: a map entry, five allocations, and a copy of every header
// (docs/decisions/0011-librdkafka-without-the-binding.md). All else stays the binding's. It may not be used once the
// client is closed.
//
// Hand is for one goroutine, and so is what takes events; the others are safe from any.
type core struct {
	rk, queue unsafe.Pointer // C's
	// wakes has something to read when events may have come; librdkafka writes to waker then.
	wakes, waker *os.File

	// Owned by who hands over.
	packed []byte // headers of the record under way

	// Owned by who takes events.
	event unsafe.Pointer // taken from the queue and not yet destroyed
	taken [reportsAtOnce]report
}

// reportsAtOnce is how many reports are taken in one call.
const reportsAtOnce = 1024

// report is the outcome of one record, laid out as C's report_t.
type report struct {
	label  uint64 // what was given with the record
	offset int64  // negative where the broker told none
	code   int32  // 0, or librdkafka's code of what went wrong
}

var _ = [1]struct{}{}[unsafe.Sizeof(report{})-C.sizeof_report_t]

// takeOver makes the binding stop taking events from the client, and us take them. What it has taken until then is in
// its channel. It reads fields that the binding does not export: a version without them panics in every test.
func takeOver(client *kafka.Producer) (*core, error) {
	fields := reflect.ValueOf(client).Elem()
	rk := fields.FieldByName("handle").FieldByName("rk").UnsafePointer()
	stop := *(*chan bool)(fields.FieldByName("pollerTermChan").Addr().UnsafePointer())
	wakes, waker, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for the events of the Kafka client: %w", err)
	}
	c := &core{rk: rk, queue: C.rd_kafka_queue_get_main(rk), wakes: wakes, waker: waker}
	for stopped := false; !stopped; {
		C.rd_kafka_queue_yield(c.queue) // the binding waits in librdkafka, for a tenth of a second at a time
		select {
		case stop <- true:
			stopped = true
		case <-time.After(time.Millisecond):
		}
	}
	raw, err := waker.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			C.rd_kafka_queue_io_event_enable(c.queue, C.int(fd), unsafe.Pointer(unsafe.StringData("!")), 1)
		})
	}
	if err != nil {
		c.release()
		return nil, fmt.Errorf("be woken by the Kafka client: %w", err)
	}
	return c, nil
}

// release gives back what is ours, before the client is closed and after the last other call.
func (c *core) release() {
	C.rd_kafka_queue_io_event_enable(c.queue, -1, nil, 0)
	c.destroyEvent()
	C.rd_kafka_queue_destroy(c.queue)
	c.waker.Close()
	c.wakes.Close()
}

// readLogs has log lines come as events. Without it they stay in a queue that nobody reads.
func (c *core) readLogs() { C.rd_kafka_set_log_queue(c.rk, nil) }

// flush has brokers' threads send without lingering until all is acked, for so long at most, and waits.
func (c *core) flush(most time.Duration) {
	C.rd_kafka_flush(c.rk, C.int((most+time.Millisecond-1)/time.Millisecond))
}

// topic is librdkafka's object for a topic, to be given back with forget.
func (c *core) topic(name string) unsafe.Pointer {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	return C.rd_kafka_topic_new(c.rk, text, nil)
}

func (c *core) forget(topic unsafe.Pointer) { C.rd_kafka_topic_destroy(topic) }

// hand gives a record to librdkafka, which copies it. The report brings label back. 0, or the code of what is wrong.
func (c *core) hand(topic unsafe.Pointer, partition int32, r *publisher.Record, label uint64) int {
	packed := c.packed[:0]
	for i := range r.Headers {
		h := &r.Headers[i]
		packed = binary.NativeEndian.AppendUint32(packed, uint32(len(h.Key)))
		size := int32(-1)
		if h.Value != nil {
			size = int32(len(h.Value))
		}
		packed = binary.NativeEndian.AppendUint32(packed, uint32(size))
		packed = append(append(packed, h.Key...), h.Value...)
	}
	c.packed = packed
	var timestamp int64
	if !r.Timestamp.IsZero() {
		timestamp = r.Timestamp.UnixMilli()
	}
	return int(C.produce(C.uintptr_t(uintptr(c.rk)), C.uintptr_t(uintptr(topic)), C.int32_t(partition), chars(r.Value), C.size_t(len(r.Value)),
		chars(r.Key), C.size_t(len(r.Key)), C.int64_t(timestamp), chars(packed), C.int(len(r.Headers)), C.uint64_t(label)))
}

// chars is where b begins: not NULL for a slice that is empty and not nil, which librdkafka takes for empty and not
// null.
func chars(b []byte) *C.char { return (*C.char)(unsafe.Pointer(unsafe.SliceData(b))) }

// take is the reports that have come, without waiting. They are valid until the next call. With none, it may have found
// an event of another kind, and returns it.
func (c *core) take() ([]report, any) {
	into := (*C.report_t)(unsafe.Pointer(&c.taken))
	if n := C.reports(c.queue, &c.event, into, C.int(len(c.taken))); n > 0 { //nolint:gocritic // it means what cgo makes of it
		return c.taken[:n], nil
	}
	if c.event == nil {
		return nil, nil
	}
	defer c.destroyEvent()
	switch C.rd_kafka_event_type(c.event) {
	case C.EVENT_ERROR:
		return nil, c.trouble()
	case C.EVENT_LOG:
		var facility, text *C.char
		var level C.int
		C.rd_kafka_event_log(c.event, &facility, &text, &level) //nolint:gocritic // the same
		return nil, line{tag: C.GoString(facility), text: C.GoString(text), level: int(level)}
	}
	return nil, ignored{}
}

// ignored is an event of no interest.
type ignored struct{}

// trouble is an error of the client as a whole.
type trouble struct {
	code  int
	text  string
	fatal bool
}

// line is what librdkafka writes to its log; level is syslog's.
type line struct {
	tag, text string
	level     int
}

func (c *core) trouble() trouble {
	if C.rd_kafka_event_error_is_fatal(c.event) == 0 {
		return trouble{code: int(C.rd_kafka_event_error(c.event)), text: C.GoString(C.rd_kafka_event_error_string(c.event))}
	}
	text := (*C.char)(C.calloc(1, 512))
	defer C.free(unsafe.Pointer(text))
	code := C.rd_kafka_fatal_error(c.rk, text, 512)
	return trouble{code: int(code), text: C.GoString(text), fatal: true}
}

func (c *core) destroyEvent() {
	if c.event != nil {
		C.rd_kafka_event_destroy(c.event)
		c.event = nil
	}
}

// wait returns when events may have come, or wake was called, or after a second in any case.
func (c *core) wait() {
	var woken [64]byte
	_ = c.wakes.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = c.wakes.Read(woken[:])
}

// wake ends a wait.
func (c *core) wake() { _, _ = c.waker.WriteString("!") }
