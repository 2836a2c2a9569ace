//go:build cgo

package librdkafka

// #include <stdint.h>
// int rd_kafka_flush(void *rk, int timeout_ms);
import "C"

import (
	"reflect"
	"time"
	"unsafe"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// core is librdkafka's own client beneath the binding's, for what the binding offers only in a form that costs too much:
// its Flush polls for reports and makes a goroutine each time. It may not be used once the client is closed.
type core struct{ rk unsafe.Pointer }

// coreOf reads a field that the binding does not export. A version of it without that field panics in every test.
func coreOf(client *kafka.Producer) core {
	return core{reflect.ValueOf(client).Elem().FieldByName("handle").FieldByName("rk").UnsafePointer()}
}

// flush has brokers' threads send without lingering until all is acked, for so long at most, and waits.
func (c core) flush(most time.Duration) {
	C.rd_kafka_flush(c.rk, C.int((most+time.Millisecond-1)/time.Millisecond))
}
