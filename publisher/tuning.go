package publisher

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Tuning are those of librdkafka's properties that franz-go has an equivalent of. Zero and nil say that the property is
// not set: none but linger.ms can be 0.
type Tuning struct {
	Linger           *time.Duration
	CompressionLevel *int
	DialTimeout      time.Duration
	RequestOverhead  time.Duration // how long an answer may take beyond what the request itself allows
	ProduceTimeout   time.Duration // how long the broker may take to replicate
	IdleTimeout      time.Duration // after which an unused connection is closed
	MetadataAge      time.Duration // topic.metadata.refresh.interval.ms, and where that is not set metadata.max.age.ms
	Backoff          time.Duration
	MostBackoff      time.Duration
	Family           string // of addresses: "v4", "v6" or "" for any
	NoKeepAlive      bool
	TokenCAFile      string            // authorities for kafka.sasl.token_url
	TokenCA          string            // the same, as PEM itself
	TokenExtensions  map[string]string // of OAUTHBEARER
}

// ParseTuning reads kafka.properties for franz-go. It refuses by name what CheckProperties does, and what has no
// equivalent, one error each, in the order of their names.
func ParseTuning(properties map[string]string) (Tuning, []error) {
	var t Tuning
	errs := CheckProperties(properties)
	// In the order of their names, so that of the two names for one thing always the same one counts.
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		value := properties[name]
		if refusal(name, value) != "" {
			continue
		}
		known, err := t.set(name, value)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("kafka.properties: %s is refused: %w", name, err))
		case !known:
			errs = append(errs, fmt.Errorf(`kafka.properties: %s is refused: %s`, name, notInFranz(name)))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return t, errs
}

// Tunable are those of librdkafka's properties that franz-go takes as well.
func Tunable(properties map[string]string) map[string]string {
	both := map[string]string{}
	for name, value := range properties {
		if _, errs := ParseTuning(map[string]string{name: value}); errs == nil {
			both[name] = value
		}
	}
	return both
}

// set takes one property over, and says whether there is an equivalent.
func (t *Tuning) set(name, value string) (known bool, err error) {
	if to := t.duration(name); to != nil {
		if *to, err = milliseconds(value); err == nil && *to == 0 {
			err = fmt.Errorf("%q is not a number of milliseconds above 0", value)
		}
		if err == nil {
			err = within(name, value, *to)
		}
		return true, err
	}
	switch name {
	case "linger.ms":
		linger, err := milliseconds(value)
		if err == nil {
			err = within(name, value, linger)
		}
		t.Linger = &linger
		return true, err
	case "compression.level":
		level, err := strconv.Atoi(value)
		if err != nil {
			return true, fmt.Errorf("%q is not a whole number", value)
		}
		t.CompressionLevel = &level
	case "broker.address.family":
		if !slices.Contains([]string{"any", "v4", "v6"}, value) {
			return true, fmt.Errorf(`%q is none of "any", "v4", "v6"`, value)
		}
		t.Family = strings.TrimPrefix(value, "any")
	case "socket.keepalive.enable":
		if value != "true" && value != "false" {
			return true, fmt.Errorf(`%q is neither "true" nor "false"`, value)
		}
		t.NoKeepAlive = value == "false"
	case "https.ca.location":
		if value != "probe" { // librdkafka's word for the system's
			t.TokenCAFile = value
		}
	case "https.ca.pem":
		t.TokenCA = value
	case "sasl.oauthbearer.extensions":
		t.TokenExtensions = map[string]string{}
		for pair := range strings.SplitSeq(value, ",") {
			key, text, ok := strings.Cut(pair, "=")
			if !ok || key == "" {
				return true, fmt.Errorf(`write "name=value", with commas between`)
			}
			t.TokenExtensions[key] = text
		}
	case "ssl.endpoint.identification.algorithm", "enable.ssl.certificate.verification", "enable.metrics.push":
		return true, t.alwaysSo(name, value)
	default:
		return false, nil
	}
	return true, nil
}

// duration is the field of a property that is given in milliseconds, nil for another.
func (t *Tuning) duration(name string) *time.Duration {
	switch name {
	case "socket.connection.setup.timeout.ms":
		return &t.DialTimeout
	case "socket.timeout.ms":
		return &t.RequestOverhead
	case "request.timeout.ms":
		return &t.ProduceTimeout
	case "connections.max.idle.ms":
		return &t.IdleTimeout
	case "metadata.max.age.ms", "topic.metadata.refresh.interval.ms":
		return &t.MetadataAge
	case "retry.backoff.ms":
		return &t.Backoff
	case "retry.backoff.max.ms":
		return &t.MostBackoff
	}
	return nil
}

// LeastMetadataAge is the least time between two of franz-go's questions about topics.
const LeastMetadataAge = 250 * time.Millisecond

// within refuses a time with which franz-go makes no client. The bounds are those of its own check (validate in kgo's
// config.go).
func within(name, value string, d time.Duration) error {
	least, most := time.Duration(0), time.Duration(math.MaxInt64)
	switch name {
	case "linger.ms":
		most = time.Minute
	case "socket.timeout.ms", "connections.max.idle.ms":
		least, most = 100*time.Millisecond, 15*time.Minute
	case "request.timeout.ms":
		least = 100 * time.Millisecond
	case "metadata.max.age.ms", "topic.metadata.refresh.interval.ms":
		least, most = LeastMetadataAge, time.Hour
	}
	switch {
	case d < least:
		return fmt.Errorf("%q is less than %d milliseconds, the least that franz-go takes", value, least.Milliseconds())
	case d > most:
		return fmt.Errorf("%q is more than %d milliseconds, the most that franz-go takes", value, most.Milliseconds())
	}
	return nil
}

// alwaysSo takes the only value that these may have; CheckProperties has refused others that weaken TLS.
func (t *Tuning) alwaysSo(name, value string) error {
	if name == "enable.metrics.push" && value != "false" {
		return fmt.Errorf("franz-go pushes no metrics here")
	}
	return nil
}

func milliseconds(value string) (time.Duration, error) {
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || !(n >= 0 && n <= 1e9) { // NaN is in no range
		return 0, fmt.Errorf("%q is not a number of milliseconds", value)
	}
	return time.Duration(n * float64(time.Millisecond)), nil
}

// notInFranz is why a property of librdkafka's does nothing with franz-go.
func notInFranz(name string) string {
	why := "franz-go has no equivalent"
	switch {
	case name == "batch.size", name == "batch.num.messages":
		why = "with franz-go a batch ends at the topic's own max.message.bytes, and has what came while the one before was on its way"
	case strings.HasPrefix(name, "reconnect.backoff."):
		why = "franz-go has one pause for both, which retry.backoff.ms and retry.backoff.max.ms set"
	case name == "debug", name == "log_level":
		why = `franz-go logs through the relay: set log.level = "debug"`
	case strings.HasPrefix(name, "ssl."), strings.HasPrefix(name, "enable.ssl."):
		why = "with franz-go Go's TLS decides: 1.2 or newer, its own ciphers; the files have the keys of kafka.tls"
	case name == "socket.nagle.disable":
		why = "with franz-go small packets are never held back"
	case name == "topic.metadata.propagation.max.ms":
		why = "franz-go asks for an unknown topic a few times within a second"
	}
	return why + `; leave it out, or use kafka.client = "librdkafka"`
}
