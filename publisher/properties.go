package publisher

import (
	"fmt"
	"slices"
	"strings"
)

// CheckProperties says which entries of kafka.properties are refused, one error each, in the order of their names:
// those that would break delivery and those that have a key of ours. Names that librdkafka does not know are found
// by the client itself.
func CheckProperties(properties map[string]string) []error {
	var errs []error
	for name, value := range properties {
		if why := refusal(name, value); why != "" {
			errs = append(errs, fmt.Errorf("kafka.properties: %s is refused: %s", name, why))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}

// IsSecret says whether a property holds, or may hold, a secret: then its value is never shown.
func IsSecret(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"password", "secret", "pem", "sasl", "token", "key"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// RefusedInTransactions is the reason against a property with librdkafka and delivery exactly_once, or "".
func RefusedInTransactions(name, value string) string {
	switch {
	case name == "retry.backoff.max.ms", name == "retry.backoff.ms", name == "socket.timeout.ms":
		return "how long a commit took tells whether it was sent twice"
	case name == "log.connection.close" && value != "true", name == "log_level" && value != "6" && value != "7":
		return "only a log line tells that a commit may have been sent twice; leave it out"
	}
	return ""
}

// refusal is the reason against a property, or "".
func refusal(name, value string) string {
	for _, group := range []func(name, value string) string{
		breaksDelivery, hasAKey, weakensTLS, isAnothers,
	} {
		if why := group(name, value); why != "" {
			return why
		}
	}
	return ""
}

func breaksDelivery(name, _ string) string {
	switch name {
	case "enable.idempotence":
		return "always on: without it a retry makes copies and changes the order"
	case "enable.gapless.guarantee":
		return "always on: without it later records of a key pass one that failed"
	case "acks", "request.required.acks":
		return "always all: with less, Kafka confirms records that it can lose"
	case "max.in.flight", "max.in.flight.requests.per.connection":
		return "always 5, the most that keeps the order"
	case "retries", "message.send.max.retries":
		return "unlimited within the message timeout: fewer would fail records that only have to wait"
	case "message.timeout.ms", "delivery.timeout.ms":
		return "follows from the lease: a record must not be written after another relay took over; set lease.ttl"
	case "queuing.strategy", "msg_order_cmp":
		return "would change the order"
	case "partitioner", "partitioner_cb", "sticky.partitioning.linger.ms":
		return "the partition is chosen as Java's client does, so that a key keeps its partition whoever writes"
	case "delivery.report.only.error", "produce.offset.report":
		return "every record has to be reported with its offset"
	case "allow.auto.create.topics":
		return "topics are declared, or created with topics.create: a typing error must not make a topic"
	case "message.max.bytes":
		return "each topic's own max.message.bytes decides"
	case "socket.max.fails":
		return "after a timed out request the connection has to be given up, else answers are taken for others'"
	case "api.version.request", "api.version.fallback.ms", "broker.version.fallback":
		return "protocol versions before 0.11 have no headers and no idempotence"
	case "topic.blacklist":
		return "use topics.allow"
	case "test.mock.num.brokers", "test.mock.broker.rtt":
		return "a mock would swallow the events"
	}
	return ""
}

func hasAKey(name, _ string) string {
	key := ""
	switch name {
	case "bootstrap.servers", "metadata.broker.list":
		key = "kafka.brokers"
	case "client.id":
		key = "kafka.client_id"
	case "compression.type", "compression.codec":
		key = "kafka.compression"
	case "transactional.id":
		key = "kafka.transactional_id"
	case "transaction.timeout.ms":
		return "fixed: a successor ends an open transaction at once, whatever the timeout"
	case "queue.buffering.max.messages", "queue.buffering.max.kbytes":
		key = "outbox.max_in_flight"
	case "queue.buffering.max.ms":
		return "use its other name, linger.ms"
	case "security.protocol":
		return "follows from kafka.tls.enabled and kafka.sasl.mechanism"
	case "ssl.ca.location", "ssl.ca.pem", "ssl_ca":
		key = "kafka.tls.ca_file"
	case "ssl.certificate.location", "ssl.certificate.pem", "ssl_certificate":
		key = "kafka.tls.cert_file"
	case "ssl.key.location", "ssl.key.pem", "ssl_key", "ssl.keystore.location":
		key = "kafka.tls.key_file"
	case "ssl.key.password", "ssl.keystore.password":
		key = "kafka.tls.key_password_file"
	case "sasl.mechanism", "sasl.mechanisms":
		key = "kafka.sasl.mechanism"
	case "sasl.username":
		key = "kafka.sasl.username"
	case "sasl.password":
		key = "kafka.sasl.password_file"
	case "sasl.oauthbearer.method", "sasl.oauthbearer.config", "enable.sasl.oauthbearer.unsecure.jwt",
		"sasl.oauthbearer.client.id", "sasl.oauthbearer.client.credentials.client.id",
		"sasl.oauthbearer.client.secret", "sasl.oauthbearer.client.credentials.client.secret",
		"sasl.oauthbearer.scope", "sasl.oauthbearer.token.endpoint.url":
		return "use the keys of kafka.sasl (mechanism OAUTHBEARER)"
	}
	if key == "" {
		return ""
	}
	return "use " + key
}

func weakensTLS(name, value string) string {
	switch {
	case name == "enable.ssl.certificate.verification" && value != "true",
		name == "ssl.endpoint.identification.algorithm" && value != "https":
		return "anybody could pose as the broker; give the authority that signed it in kafka.tls.ca_file"
	}
	return ""
}

// isAnothers finds what is not a producer's, or can only be set by a program. librdkafka would take most of it and
// do nothing, which is worse than an error.
func isAnothers(name, _ string) string {
	switch {
	case strings.HasPrefix(name, "go."), name == "enabled_events", name == "log.queue", name == "log_cb":
		return "the relay decides how it is told of events"
	case strings.HasPrefix(name, "statistics."):
		return "nobody reads librdkafka's statistics here; /metrics has the relay's own"
	case name == "internal.termination.signal":
		return "signals are the relay's own"
	case name == "plugin.library.paths", name == "interceptors":
		return "foreign code in the producer can drop or change records"
	case strings.HasSuffix(name, "_cb"), strings.HasSuffix(name, "_callback_data"), name == "opaque",
		name == "default_topic_conf", name == "default.topic.config", strings.HasPrefix(name, "{topic}."):
		return "can only be set by a program"
	case name == "builtin.features":
		return "describes the library and cannot be set"
	case strings.HasPrefix(name, "sasl.kerberos."):
		return "Kerberos is not built in"
	}
	for _, prefix := range []string{
		"group.", "session.timeout.", "heartbeat.", "coordinator.query.", "max.poll.", "enable.auto.", "auto.",
		"queued.", "fetch.", "isolation.level", "enable.partition.eof", "check.crcs", "consume.",
		"partition.assignment.", "offset.store.", "offset.commit.",
		"max.partition.fetch.bytes",
	} {
		if strings.HasPrefix(name, prefix) {
			return "is a consumer's, and would do nothing here"
		}
	}
	return ""
}
