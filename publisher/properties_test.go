package publisher

import (
	"strings"
	"testing"
)

func TestCheckProperties_RefusesByNameWhatBreaksDelivery(t *testing.T) {
	for name, word := range map[string]string{
		"enable.idempotence": "copies", "acks": "lose", "request.required.acks": "lose",
		"max.in.flight": "order", "max.in.flight.requests.per.connection": "order",
		"enable.gapless.guarantee": "pass", "retries": "wait", "message.send.max.retries": "wait",
		"partitioner": "partition", "transactional.id": "kafka.transactional_id",
		"transaction.timeout.ms": "successor", "message.timeout.ms": "lease.ttl", "delivery.timeout.ms": "lease.ttl",
		"delivery.report.only.error": "offset", "produce.offset.report": "offset", "dr_cb": "program",
		"dr_msg_cb": "program", "go.batch.producer": "events", "go.delivery.reports": "events",
		"bootstrap.servers": "kafka.brokers", "metadata.broker.list": "kafka.brokers",
		"client.id": "kafka.client_id", "compression.type": "kafka.compression",
		"compression.codec": "kafka.compression", "queue.buffering.max.messages": "outbox.max_in_flight",
		"queue.buffering.max.kbytes": "outbox.max_in_flight", "queue.buffering.max.ms": "linger.ms",
		"allow.auto.create.topics": "topics.create", "plugin.library.paths": "foreign",
		"security.protocol": "kafka.tls.enabled", "ssl.ca.location": "kafka.tls.ca_file",
		"ssl.key.password": "key_password_file", "sasl.password": "password_file", "sasl.username": "username",
		"sasl.oauthbearer.client.secret": "OAUTHBEARER", "queuing.strategy": "order", "group.id": "consumer",
		"test.mock.num.brokers": "swallow", "{topic}.acks": "program", "default.topic.config": "program",
		"statistics.interval.ms": "/metrics", "internal.termination.signal": "signals",
	} {
		errs := CheckProperties(map[string]string{name: "1"})
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), "kafka.properties: "+name+" ") ||
			!strings.Contains(errs[0].Error(), word) {
			t.Errorf("%s: %v; want one refusal that says %q", name, errs, word)
		}
	}
}

func TestCheckProperties_RefusesToTrustAnyBroker(t *testing.T) {
	if errs := CheckProperties(map[string]string{
		"enable.ssl.certificate.verification": "false", "ssl.endpoint.identification.algorithm": "none",
	}); len(errs) != 2 {
		t.Errorf("%v", errs)
	}
	if errs := CheckProperties(map[string]string{
		"enable.ssl.certificate.verification": "true", "ssl.endpoint.identification.algorithm": "https",
	}); errs != nil {
		t.Errorf("%v", errs)
	}
}

func TestCheckProperties_LetsTuningThrough(t *testing.T) {
	if errs := CheckProperties(map[string]string{
		"linger.ms": "5", "batch.size": "100000", "batch.num.messages": "1000", "socket.timeout.ms": "10000",
		"socket.keepalive.enable": "true", "broker.address.family": "v4",
		"reconnect.backoff.ms": "50", "debug": "broker", "log_level": "7", "ssl.cipher.suites": "x",
		"topic.metadata.propagation.max.ms": "1000", "client.rack": "a", "compression.level": "3",
		"sasl.oauthbearer.extensions": "a=b",
	}); errs != nil {
		t.Errorf("%v", errs)
	}
}

func TestCheckProperties_TellsAllInOrder(t *testing.T) {
	errs := CheckProperties(map[string]string{"retries": "1", "acks": "1", "linger.ms": "1", "client.id": "x"})
	if len(errs) != 3 || !strings.Contains(errs[0].Error(), "acks") || !strings.Contains(errs[2].Error(), "retries") {
		t.Errorf("%v", errs)
	}
}
