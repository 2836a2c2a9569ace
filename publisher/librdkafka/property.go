//go:build cgo

package librdkafka

/*
#include <stdlib.h>

// Of librdkafka's public interface, as in core.go.
enum { CONF_UNKNOWN = -2, CONF_INVALID = -1, CONF_OK = 0 };

void *rd_kafka_conf_new(void);
void rd_kafka_conf_destroy(void *conf);
int rd_kafka_conf_set(void *conf, const char *name, const char *value, char *text, size_t size);
*/
import "C"

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/publisher"
)

// CheckProperties is publisher.CheckProperties, and asks librdkafka about each of the others by itself.
func CheckProperties(properties map[string]string) []error {
	errs := publisher.CheckProperties(properties)
	for name, value := range properties {
		if len(publisher.CheckProperties(map[string]string{name: value})) > 0 {
			continue
		}
		why := notTaken(name, value)
		if _, err := strconv.ParseFloat(value, 64); why == "" && name == "linger.ms" && err != nil {
			why = fmt.Sprintf("%q is not a number of milliseconds", value) // librdkafka reads "5s" as 5
		}
		if why != "" {
			errs = append(errs, fmt.Errorf("kafka.properties: %s is refused: %s", name, why))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}

// notTaken sets a property in a configuration that is thrown away, and says why librdkafka does not take it, or "".
func notTaken(name, value string) string {
	conf := C.rd_kafka_conf_new()
	defer C.rd_kafka_conf_destroy(conf)
	const size = 512
	text := (*C.char)(C.calloc(1, size))
	defer C.free(unsafe.Pointer(text))
	cName, cValue := C.CString(name), C.CString(value)
	defer C.free(unsafe.Pointer(cName))
	defer C.free(unsafe.Pointer(cValue))
	switch C.rd_kafka_conf_set(conf, cName, cValue, text, size) {
	case C.CONF_OK:
		return ""
	case C.CONF_UNKNOWN:
		return "librdkafka " + Version() + " has no such property"
	}
	if publisher.IsSecret(name) {
		return "librdkafka does not take its value"
	}
	return "librdkafka does not take its value: " + strings.TrimSpace(C.GoString(text))
}

// Check says why librdkafka makes no producer of this configuration: properties that it takes one by one may not fit
// together, or not with ours. It connects nowhere, and so leaves out the login, which fetches tokens.
func Check(cfg publisher.Config) error {
	cfg.SASL = publisher.SASL{}
	settings, err := producerSettings(cfg)
	if err != nil {
		return err
	}
	delete(settings, "bootstrap.servers")
	if _, err := bytesOf(settings, "batch.size"); err != nil {
		return err
	}
	client, err := kafka.NewProducer(&settings)
	if err != nil {
		text := plainly(newVoice(cfg, settings).Clean(err.Error()))
		return errors.New(strings.ReplaceAll(text, "`message.timeout.ms`", "`message.timeout.ms`, which relay sets,"))
	}
	client.Close()
	return nil
}
