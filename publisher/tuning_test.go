package publisher

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseTuning_TakesEachProperty(t *testing.T) {
	none, second, level := time.Duration(0), time.Second, -1
	half := 500 * time.Microsecond
	for _, c := range []struct {
		name, value string
		want        Tuning
	}{
		{"linger.ms", "1000", Tuning{Linger: &second}},
		{"linger.ms", "0", Tuning{Linger: &none}},
		{"linger.ms", "0.5", Tuning{Linger: &half}},
		{"compression.level", "-1", Tuning{CompressionLevel: &level}},
		{"socket.connection.setup.timeout.ms", "1500", Tuning{DialTimeout: 1500 * time.Millisecond}},
		{"socket.timeout.ms", "60000", Tuning{RequestOverhead: time.Minute}},
		{"request.timeout.ms", "30000", Tuning{ProduceTimeout: 30 * time.Second}},
		{"connections.max.idle.ms", "540000", Tuning{IdleTimeout: 9 * time.Minute}},
		{"metadata.max.age.ms", "60000", Tuning{MetadataAge: time.Minute}},
		{"topic.metadata.refresh.interval.ms", "5000", Tuning{MetadataAge: 5 * time.Second}},
		{"retry.backoff.ms", "100", Tuning{Backoff: 100 * time.Millisecond}},
		{"retry.backoff.max.ms", "1000", Tuning{MostBackoff: time.Second}},
		{"broker.address.family", "v4", Tuning{Family: "v4"}},
		{"broker.address.family", "v6", Tuning{Family: "v6"}},
		{"broker.address.family", "any", Tuning{}},
		{"socket.keepalive.enable", "true", Tuning{}},
		{"socket.keepalive.enable", "false", Tuning{NoKeepAlive: true}},
		{"https.ca.location", "/etc/ca.pem", Tuning{TokenCAFile: "/etc/ca.pem"}},
		{"https.ca.location", "probe", Tuning{}},
		{"https.ca.pem", "-----BEGIN", Tuning{TokenCA: "-----BEGIN"}},
		{"sasl.oauthbearer.extensions", "a=b,c=d=e", Tuning{TokenExtensions: map[string]string{"a": "b", "c": "d=e"}}},
		{"ssl.endpoint.identification.algorithm", "https", Tuning{}},
		{"enable.ssl.certificate.verification", "true", Tuning{}},
		{"enable.metrics.push", "false", Tuning{}},
	} {
		got, errs := ParseTuning(map[string]string{c.name: c.value})
		if errs != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s = %q: %+v, %v; want %+v", c.name, c.value, got, errs, c.want)
		}
	}
}

func TestParseTuning_RefusesByNameAWrongValue(t *testing.T) {
	const number = "is not a number of milliseconds"
	for _, c := range []struct{ name, value, why string }{
		{"linger.ms", "5ms", `"5ms" ` + number}, {"linger.ms", "", `"" ` + number}, {"linger.ms", "-1", `"-1" ` + number},
		{"linger.ms", "NaN", `"NaN" ` + number}, {"linger.ms", "1e10", `"1e10" ` + number},
		{"socket.connection.setup.timeout.ms", "soon", number}, {"socket.timeout.ms", "-5", number},
		{"request.timeout.ms", "1s", number}, {"metadata.max.age.ms", "inf", number},
		{"topic.metadata.refresh.interval.ms", "-1", number}, {"retry.backoff.ms", "x", number}, {"retry.backoff.max.ms", "x", number},
		// librdkafka calls it off with 0, franz-go would take its default.
		{"linger.ms", "60001", "more than 60000 milliseconds"},
		{"socket.timeout.ms", "99", "less than 100 milliseconds"}, {"socket.timeout.ms", "900001", "more than 900000 milliseconds"},
		{"connections.max.idle.ms", "99", "less than 100 milliseconds"}, {"connections.max.idle.ms", "900001", "more than 900000 milliseconds"},
		{"request.timeout.ms", "99", "less than 100 milliseconds"},
		{"metadata.max.age.ms", "249", "less than 250 milliseconds"}, {"metadata.max.age.ms", "3600001", "more than 3600000 milliseconds"},
		{"topic.metadata.refresh.interval.ms", "249", "less than 250 milliseconds"},
		{"topic.metadata.refresh.interval.ms", "3600001", "more than 3600000 milliseconds"},
		{"connections.max.idle.ms", "0", `"0" ` + number + " above 0"}, {"retry.backoff.ms", "0", number + " above 0"},
		{"compression.level", "high", `"high" is not a whole number`}, {"compression.level", "1.5", "is not a whole number"},
		{"broker.address.family", "ipv4", `none of "any", "v4", "v6"`},
		{"socket.keepalive.enable", "yes", `neither "true" nor "false"`},
		{"sasl.oauthbearer.extensions", "a", `"name=value"`}, {"sasl.oauthbearer.extensions", "a=b,=c", `"name=value"`},
		{"enable.metrics.push", "true", "no metrics"},
		{"enable.ssl.certificate.verification", "false", "pose as the broker"},
		{"ssl.endpoint.identification.algorithm", "none", "pose as the broker"},
	} {
		_, errs := ParseTuning(map[string]string{c.name: c.value})
		if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), "kafka.properties: "+c.name+" is refused: ") ||
			!strings.Contains(errs[0].Error(), c.why) {
			t.Errorf("%s = %q: %v; want one refusal that says %q", c.name, c.value, errs, c.why)
		}
	}
}

func TestParseTuning_SaysWhatToDoAboutAPropertyOfLibrdkafkas(t *testing.T) {
	for name, why := range map[string]string{
		"batch.size": "max.message.bytes", "batch.num.messages": "max.message.bytes", "reconnect.backoff.ms": "retry.backoff.ms",
		"reconnect.backoff.max.ms": "retry.backoff.ms", "debug": "log.level", "log_level": "log.level",
		"ssl.cipher.suites": "kafka.tls", "socket.nagle.disable": "never held back",
		"topic.metadata.propagation.max.ms": "within a second", "client.rack": "no equivalent", "no.such.property": "no equivalent",
	} {
		_, errs := ParseTuning(map[string]string{name: "1"})
		if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), "kafka.properties: "+name+" is refused: ") ||
			!strings.Contains(errs[0].Error(), why) ||
			!strings.HasSuffix(errs[0].Error(), `; leave it out, or use kafka.client = "librdkafka"`) {
			t.Errorf("%s: %v; want one refusal that says %q", name, errs, why)
		}
	}
}

func TestTunable_IsWhatBothClientsTake(t *testing.T) {
	got := Tunable(map[string]string{"https.ca.location": "/ca.pem", "socket.timeout.ms": "10000", "batch.size": "1000",
		"connections.max.idle.ms": "0", "debug": "all", "broker.address.family": "v4"})
	want := map[string]string{"https.ca.location": "/ca.pem", "socket.timeout.ms": "10000", "broker.address.family": "v4"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestParseTuning_TellsAllInOrder(t *testing.T) {
	_, errs := ParseTuning(map[string]string{"socket.timeout.ms": "x", "acks": "1", "debug": "all", "linger.ms": "1", "batch.size": "1"})
	var names []string
	for _, err := range errs {
		names = append(names, strings.Fields(err.Error())[1])
	}
	if got := strings.Join(names, " "); got != "acks batch.size debug socket.timeout.ms" {
		t.Errorf("refused in this order: %s", got)
	}
}

func TestParseTuning_OfTwoNamesForOneThingAlwaysTheSameCounts(t *testing.T) {
	for range 50 { // a map has another order each time
		got, errs := ParseTuning(map[string]string{"metadata.max.age.ms": "60000", "topic.metadata.refresh.interval.ms": "5000"})
		if errs != nil || got.MetadataAge != 5*time.Second {
			t.Fatalf("%v, %v", got.MetadataAge, errs)
		}
	}
}
