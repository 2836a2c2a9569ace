//go:build cgo

package main

import (
	"strings"
	"testing"
)

// An unknown property, or one with a value that librdkafka does not take, passed the check; the daemon then began and
// ended sessions for ever.
func TestConfig_RefusesPropertiesThatTheClientDoesNotTake(t *testing.T) {
	file := writeFile(t, "relay.toml", `[postgres]
url = "postgres://u@localhost/app"
[kafka.properties]
"socket.timeout.msx" = "1"
"socket.timeout.ms" = "abc"
"linger.ms" = "5s"
"statistics.interval.ms" = "1000"
"sasl.oauthbearer.grant.type" = "kanarienvogel"
"acks" = "1"
"batch.size" = "100000"
[lease]
ttl = "1s"
`)
	for _, command := range [][]string{{"config", "check"}, {"run"}, {"status"}} {
		r := runRelay(t, nil, append(command, "--config", file)...)
		r.wants(t, exitUsage)
		for _, want := range []string{
			":4: kafka.properties.socket.timeout.msx: is refused: librdkafka 2.",
			":5: kafka.properties.socket.timeout.ms: is refused: librdkafka does not take its value: ",
			`:6: kafka.properties.linger.ms: is refused: "5s" is not a number of milliseconds`,
			":7: kafka.properties.statistics.interval.ms: is refused: ",
			":8: kafka.properties.sasl.oauthbearer.grant.type: is refused: librdkafka does not take its value\n",
			":9: kafka.properties.acks: is refused: always all",
			":12: lease.ttl: ",
			"relay: 7 faults in the configuration\n",
		} {
			if !strings.Contains(r.errors, want) {
				t.Errorf("%v says no %q: %s", command, want, r.errors)
			}
		}
		if strings.Contains(r.errors, "kanarienvogel") {
			t.Errorf("%v shows a value that may be a secret: %s", command, r.errors)
		}
	}
}

// Each of these is taken by itself, and no producer can be made of it.
func TestConfig_RefusesPropertiesThatDoNotFitTogether(t *testing.T) {
	for _, c := range []struct{ delivery, properties, want string }{
		{"at_least_once", `"client.rack" = "a"` + "\n" + `"reconnect.backoff.ms" = "5000"`,
			":6: kafka.properties.reconnect.backoff.ms: librdkafka does not take this together with the rest: "},
		{"at_least_once", `"linger.ms" = "12000"`,
			":5: kafka.properties.linger.ms: librdkafka does not take this together with the rest: `message.timeout.ms`, which relay sets, must be"},
		{"exactly_once", `"log_level" = "5"` + "\n" + `"log.connection.close" = "false"`,
			`:5: kafka.properties.log_level: is refused with outbox.delivery = "exactly_once": only a log line tells`},
		{"exactly_once", `"log_level" = "7"` + "\n" + `"log.connection.close" = "false"`,
			`:6: kafka.properties.log.connection.close: is refused with outbox.delivery = "exactly_once": only a log line tells`},
	} {
		file := writeFile(t, "relay.toml", "[outbox]\ndelivery = \""+c.delivery+"\"\n\n[kafka.properties]\n"+c.properties+"\n")
		env := []string{"RELAY_POSTGRES_URL=postgres://u@localhost/app"}
		if r := runRelay(t, env, "config", "check", "--config", file); r.code != exitUsage || !strings.Contains(r.errors, c.want) {
			t.Errorf("%s: exit code %d: %s; want %q", c.properties, r.code, r.errors, c.want)
		}
	}
	file := writeFile(t, "relay.toml", "[outbox]\ndelivery = \"exactly_once\"\n[kafka.properties]\n\"log_level\" = \"7\"\n\"linger.ms\" = \"12000\"\n"+
		"\"reconnect.backoff.ms\" = \"5000\"\n\"reconnect.backoff.max.ms\" = \"5000\"\n\"debug\" = \"broker,eos\"\n")
	runRelay(t, []string{"RELAY_POSTGRES_URL=postgres://u@localhost/app"}, "config", "check", "--config", file).wants(t, exitDone)
}
