//go:build cgo

package librdkafka

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/internal/mutant"
	"github.com/outboxrelay/relay/publisher"
)

const (
	// defaultBatchSize: 500 kB cost 1 µs an event less than 100 kB, and stay below Kafka's default limit of 1 MiB a
	// batch. Topics with a smaller limit get a window of their own (lane.go).
	defaultBatchSize = 500_000
	// linger is how long a record waits for company while more are coming. Flush ends the wait, so it costs no latency,
	// and in a backlog the requests are large (docs/decisions/0006-linger.md).
	linger = 20 * time.Millisecond
	// eventBuffer is the events that the binding takes before we do; its default of a million takes 24 MB.
	eventBuffer = 16
	// recordsPerBatch is librdkafka's default, given because the queue's size counts on it.
	recordsPerBatch = 10_000
)

// producerSettings are librdkafka's properties for sending. They are laid over the user's, which CheckProperties has
// cleared.
func producerSettings(cfg publisher.Config) (kafka.ConfigMap, error) {
	if cfg.MessageTimeout < time.Second || cfg.MaxInFlightRecords < 1 || cfg.MaxInFlightBytes < 1 {
		return nil, fmt.Errorf("message timeout %v, in flight %d records and %d bytes: give a second and one at least",
			cfg.MessageTimeout, cfg.MaxInFlightRecords, cfg.MaxInFlightBytes)
	}
	m := kafka.ConfigMap{
		"linger.ms":                         strconv.Itoa(int(linger / time.Millisecond)),
		"batch.size":                        strconv.Itoa(defaultBatchSize),
		"batch.num.messages":                strconv.Itoa(recordsPerBatch),
		"topic.metadata.propagation.max.ms": "1500", // 0 fails topics just made, 30 s is the default
	}
	if err := connectionSettings(m, cfg, func(string) bool { return true }); err != nil {
		return nil, err
	}
	records := cfg.MaxInFlightRecords + recordsPerBatch + reportsAtOnce
	for name, value := range map[string]kafka.ConfigValue{
		"enable.idempotence":       true,
		"acks":                     "all",
		"max.in.flight":            inFlight,
		"enable.gapless.guarantee": !mutant.On("no-gapless"),
		"message.timeout.ms":       int(cfg.MessageTimeout / time.Millisecond),
		"message.max.bytes":        100_000_000, // the topic's own limit decides
		"compression.type":         cfg.Compression,
		"allow.auto.create.topics": false,
		"partitioner":              "murmur2_random", // never asked: every record names its partition
		"go.events.channel.size":   eventBuffer,
		"go.produce.channel.size":  0,
		// librdkafka counts a record until the event that reported it was taken apart, which is later than our own
		// count: so there is room for one whole event more.
		"queue.buffering.max.messages": records,
		"queue.buffering.max.kbytes":   int(min(2*cfg.MaxInFlightBytes/1024+64<<10, 2147483647)),
	} {
		m[name] = value
	}
	if cfg.TransactionalID != "" {
		transactionSettings(m, cfg)
	}
	m["go.logs.channel.enable"] = false // the binding would ask for lines ten times a second
	m["log.queue"] = true
	if !wantsLines(cfg) {
		m["log_level"] = "4" // warnings, among which is noProducerID
	}
	return m, nil
}

// wantsLines says whether a producer's log lines are forwarded. What goes wrong with brokers, certificates and passwords
// comes as an event too (reader.go), so only those who debug need the lines, and transactions, which judge by them
// (voice.disturbed). One is forwarded in any case: noProducerID.
func wantsLines(cfg publisher.Config) bool {
	_, debug := cfg.Properties["debug"]
	_, level := cfg.Properties["log_level"]
	return debug || level || cfg.TransactionalID != ""
}

// connectionSettings adds how to reach the cluster, and those of the user's properties that keep lets through.
func connectionSettings(m kafka.ConfigMap, cfg publisher.Config, keep func(name string) bool) error {
	if err := errors.Join(publisher.CheckProperties(cfg.Properties)...); err != nil {
		return err
	}
	for name, value := range map[string]kafka.ConfigValue{
		"bootstrap.servers":        strings.Join(cfg.Brokers, ","),
		"client.id":                cfg.ClientID,
		"enable.metrics.push":      "false", // KIP-714: nobody asked us to tell brokers about ourselves
		"socket.keepalive.enable":  "true",
		"reconnect.backoff.ms":     "100",
		"reconnect.backoff.max.ms": "2000",
		"go.logs.channel.enable":   true,
		"log_level":                "6",
	} {
		m[name] = value
	}
	for name, value := range cfg.Properties {
		if keep(name) {
			m[name] = value
		}
	}
	if err := usable(cfg); err != nil {
		return err
	}
	return securitySettings(m, cfg)
}

// ofConnections says whether a property is about connections, and not about producing.
func ofConnections(name string) bool {
	for _, prefix := range []string{
		"socket.", "ssl.", "sasl.", "enable.ssl.", "https.", "broker.", "client.", "reconnect.", "connections.",
		"metadata.", "debug", "log", "enable.metrics.",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func securitySettings(m kafka.ConfigMap, cfg publisher.Config) error {
	protocol := "plaintext"
	switch {
	case cfg.TLS.Enabled && cfg.SASL.Mechanism != "":
		protocol = "sasl_ssl"
	case cfg.TLS.Enabled:
		protocol = "ssl"
	case cfg.SASL.Mechanism != "":
		protocol = "sasl_plaintext"
	}
	m["security.protocol"] = protocol
	if cfg.TLS.Enabled {
		// The library is linked statically and has no idea where this system keeps its authorities: it looks.
		m["ssl.ca.location"] = "probe"
		for name, value := range map[string]string{
			"ssl.ca.location":          cfg.TLS.CAFile,
			"ssl.certificate.location": cfg.TLS.CertFile,
			"ssl.key.location":         cfg.TLS.KeyFile,
		} {
			if value != "" {
				m[name] = value
			}
		}
		if file := cfg.TLS.KeyPasswordFile; file != "" {
			password, err := os.ReadFile(file)
			if err != nil {
				return fmt.Errorf("read the password of the TLS key: %w", err)
			}
			m["ssl.key.password"] = strings.TrimRight(string(password), "\r\n")
		}
	}
	return saslSettings(m, cfg.SASL)
}

func saslSettings(m kafka.ConfigMap, sasl publisher.SASL) error {
	switch sasl.Mechanism {
	case "":
		return nil
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		m["sasl.username"] = sasl.Username
		m["sasl.password"] = sasl.Password
	case "OAUTHBEARER":
		m["sasl.oauthbearer.method"] = "oidc"
		m["sasl.oauthbearer.client.id"] = sasl.ClientID
		m["sasl.oauthbearer.client.secret"] = sasl.ClientSecret
		m["sasl.oauthbearer.token.endpoint.url"] = sasl.TokenURL
		if sasl.Scope != "" {
			m["sasl.oauthbearer.scope"] = sasl.Scope
		}
	default:
		return fmt.Errorf("SASL mechanism %q: use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER", sasl.Mechanism)
	}
	m["sasl.mechanism"] = sasl.Mechanism
	return nil
}

// lingerOf is how long records are held back at most: after that no flush is of use.
func lingerOf(m kafka.ConfigMap) time.Duration {
	ms, err := strconv.ParseFloat(fmt.Sprint(m["linger.ms"]), 64)
	if err != nil {
		return linger // librdkafka has refused the setting
	}
	return time.Duration(ms * float64(time.Millisecond))
}

// bytesOf is a whole number among the settings.
func bytesOf(m kafka.ConfigMap, name string) (int, error) {
	n, err := strconv.Atoi(fmt.Sprint(m[name]))
	if err != nil || n < 1 {
		return 0, fmt.Errorf("kafka.properties: %s: %q is not a number of bytes", name, m[name])
	}
	return n, nil
}
