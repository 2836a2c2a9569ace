package publisher

// FromCode is the error for a code of Kafka's protocol, or for one of librdkafka's own (negative), as it comes in a
// delivery report, from a send or from a question about a topic. Code 0 is nil.
func FromCode(code int) *Error {
	if code == 0 {
		return nil
	}
	e := Error{class: ClassUnknown, phrase: "kafka refused for a reason this program does not know", code: code}
	if known, ok := known(code); ok {
		e.class, e.phrase = known.class, known.phrase
	}
	return &e
}

type meaning struct{ class, phrase string }

// known is a switch and not a map, so that nothing is built at start and nothing can be changed. Kafka's own codes:
// https://kafka.apache.org/protocol#protocol_error_codes; the negative ones: rdkafka.h.
func known(code int) (meaning, bool) {
	for _, group := range []func(int) meaning{topicCode, recordCode, producerCode, clusterCode} {
		if m := group(code); m.class != "" {
			return m, true
		}
	}
	return meaning{}, false
}

func topicCode(code int) meaning {
	switch code {
	case 3, 100: // 100 UNKNOWN_TOPIC_ID: deleted and made again under a client that remembers the old one
		return meaning{ClassNoTopic, "the topic does not exist"}
	case -188:
		return meaning{ClassNoTopic, "the topic does not exist"}
	case -190:
		return meaning{ClassNoTopic, "the topic or its partition does not exist"}
	case 17:
		return meaning{ClassInvalidTopic, "not a topic that can be written"}
	case 29:
		return meaning{ClassForbidden, "the topic may not be written: grant Write and Describe"}
	case 44:
		return meaning{ClassPolicy, "the cluster's policy refuses it"}
	case 43:
		return meaning{ClassPolicy, "the topic's message format is too old"}
	}
	return meaning{}
}

func recordCode(code int) meaning {
	switch code {
	case 10, 18:
		return meaning{ClassTooLarge, "larger than the topic's max.message.bytes"}
	case 87:
		return meaning{ClassInvalidRecord, "the broker refuses the record: a compacted topic needs a key"}
	case 32:
		return meaning{ClassInvalidTimestamp, "the record's timestamp is outside of what the topic accepts"}
	case -138:
		return meaning{ClassNeighbour, "another record of the batch was refused"}
	case -152:
		return meaning{ClassPurged, "given up while it waited to be sent"}
	case -151:
		return meaning{ClassCut, "given up while the broker had it"}
	case -192:
		return meaning{ClassTimedOut, "no ack within the message timeout"}
	case -185, 7:
		return meaning{ClassTimedOut, "no answer in time"}
	case 2: // nothing is wrong with the record: what came to the broker has another checksum
		return meaning{ClassTransport, "the record came to the broker damaged"}
	case 89:
		return meaning{ClassThrottled, "over a quota of the cluster"}
	}
	return meaning{}
}

func producerCode(code int) meaning {
	switch code {
	case -144, 47, 90:
		return meaning{ClassFenced, "another producer took over"}
	case 45, 59:
		return meaning{ClassOutOfSequence, "the broker has lost what it knew of this producer, and may miss records that it acked"}
	case 46:
		return meaning{ClassNoOffset, "the broker took it for a duplicate and gave no offset"}
	case 48, 49, 51, 52, 55, 120, -149:
		return meaning{ClassTransaction, "the transaction cannot go on"}
	case 50:
		return meaning{ClassConfiguration, "the brokers do not let a transaction last a minute: set their transaction.max.timeout.ms to 60000 or more"}
	case -150:
		return meaning{ClassFatal, "the client gave up"}
	case -148:
		return meaning{ClassFatal, "a record failed for good, and no later one may pass it"}
	case -172, -197:
		return meaning{ClassClosed, "the client is closed"}
	case -184:
		return meaning{ClassQueueFull, "the client's queue is full"}
	case -186:
		return meaning{ClassConfiguration, "the client does not take an argument"}
	}
	return meaning{}
}

func clusterCode(code int) meaning {
	switch code {
	case -195, 13:
		return meaning{ClassTransport, "the connection to the broker broke"}
	case -187:
		return meaning{ClassTransport, "no broker can be reached"}
	case -193:
		return meaning{ClassTransport, "the broker's name cannot be resolved"}
	case -169, 58:
		return meaning{ClassAuthentication, "the broker refuses the credentials"}
	case -181:
		return meaning{ClassAuthentication, "TLS with the broker does not come about"}
	case 33, 34:
		return meaning{ClassAuthentication, "the broker does not offer this SASL mechanism"}
	case 53:
		return meaning{ClassUnauthorized, "the transactional id may not be used: grant Write and Describe on it"}
	case 31:
		return meaning{ClassUnauthorized, "the cluster does not let us produce: grant IdempotentWrite"}
	case 5, 6, 8, 9, 14, 15, 16, 41, 56:
		return meaning{ClassUnavailable, "the partition or its leader is not available"}
	case -1:
		return meaning{ClassUnavailable, "the broker failed and does not say why: its log does"}
	case 19, 20:
		return meaning{ClassUnavailable, "too few replicas are in sync"}
	case 35, 76:
		return meaning{ClassConfiguration, "the broker does not know what we speak"}
	}
	return meaning{}
}
