package publisher

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A class that is not in the list has no counter before its first error.
func TestClasses_AreAllThatThereAre(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Class") {
			word, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared = append(declared, word)
		}
		return true
	})
	if !slices.Equal(declared, Classes()) || len(declared) < 20 {
		t.Errorf("declared are\n%q, and listed\n%q", declared, Classes())
	}
}

// The table of the rules for errors: what the session may conclude from each code.
func TestFromCode_AnswersTheQuestions(t *testing.T) {
	const (
		rejected = 1 << iota
		topic
		maybe
		innocent
		throttled
		fatal
		fenced
		noOffset
	)
	for _, c := range []struct {
		code  int
		class string
		want  int
	}{
		{-192, ClassTimedOut, maybe},                // MSG_TIMED_OUT
		{-151, ClassCut, maybe | innocent},          // PURGE_INFLIGHT
		{-195, ClassTransport, maybe},               // TRANSPORT
		{-185, ClassTimedOut, maybe},                // TIMED_OUT
		{7, ClassTimedOut, maybe},                   // REQUEST_TIMED_OUT
		{20, ClassUnavailable, maybe},               // NOT_ENOUGH_REPLICAS_AFTER_APPEND
		{19, ClassUnavailable, maybe},               // an earlier try may have been stored
		{-152, ClassPurged, maybe | innocent},       // PURGE_QUEUE: may have been sent before
		{-138, ClassNeighbour, innocent},            // INVALID_DIFFERENT_RECORD
		{10, ClassTooLarge, rejected},               // MSG_SIZE_TOO_LARGE
		{18, ClassTooLarge, rejected},               // RECORD_LIST_TOO_LARGE
		{87, ClassInvalidRecord, rejected},          // INVALID_RECORD
		{32, ClassInvalidTimestamp, rejected},       // INVALID_TIMESTAMP
		{29, ClassForbidden, topic},                 // TOPIC_AUTHORIZATION_FAILED
		{3, ClassNoTopic, topic},                    // UNKNOWN_TOPIC_OR_PART
		{100, ClassNoTopic, topic},                  // UNKNOWN_TOPIC_ID
		{-188, ClassNoTopic, topic},                 // UNKNOWN_TOPIC
		{-190, ClassNoTopic, topic},                 // UNKNOWN_PARTITION
		{44, ClassPolicy, topic},                    // POLICY_VIOLATION
		{17, ClassInvalidTopic, topic},              // TOPIC_EXCEPTION
		{89, ClassThrottled, throttled},             // THROTTLING_QUOTA_EXCEEDED
		{-144, ClassFenced, maybe | fenced | fatal}, // _FENCED
		{47, ClassFenced, maybe | fenced | fatal},   // INVALID_PRODUCER_EPOCH
		{90, ClassFenced, maybe | fenced | fatal},   // PRODUCER_FENCED
		{-150, ClassFatal, maybe | fatal},           // _FATAL
		{-148, ClassFatal, maybe | fatal},           // _GAPLESS_GUARANTEE
		{-172, ClassClosed, maybe | fatal},          // _STATE: the client is closed
		{46, ClassNoOffset, maybe | noOffset},       // DUPLICATE_SEQUENCE_NUMBER
		{45, ClassOutOfSequence, maybe},
		{58, ClassAuthentication, maybe},
		{31, ClassUnauthorized, maybe}, // blames no topic: nothing may be parked for it
		{-1, ClassUnavailable, maybe},  // UNKNOWN_SERVER_ERROR
		{2, ClassTransport, maybe},     // CORRUPT_MESSAGE: sent again, and no row is blamed
		{120, ClassTransaction, maybe}, // TRANSACTION_ABORTABLE
		{50, ClassConfiguration, 0},    // INVALID_TRANSACTION_TIMEOUT: no transaction, no record
		{9999, ClassUnknown, maybe},
	} {
		err := fmt.Errorf("send to orders[3]: %w", FromCode(c.code))
		got := 0
		for bit, yes := range map[int]bool{
			rejected: Rejected(err), topic: TopicTrouble(err), maybe: MaybeWritten(err), innocent: Innocent(err),
			throttled: Throttled(err), fatal: Fatal(err), fenced: Fenced(err), noOffset: NoOffset(err),
		} {
			if yes {
				got |= bit
			}
		}
		if got != c.want || Class(err) != c.class {
			t.Errorf("code %d: class %s, answers %08b; want %s, %08b", c.code, Class(err), got, c.class, c.want)
		}
		if MaybeWritten(err) == NotWritten(err) {
			t.Errorf("code %d: written and not written at once", c.code)
		}
	}
}

func TestFromCode_ZeroIsNoError(t *testing.T) {
	if err := FromCode(0); err != nil {
		t.Fatalf("code 0: %v", err)
	}
}

func TestErrors_OfOtherPackagesProveNothing(t *testing.T) {
	err := fmt.Errorf("wait: %w", context.Canceled)
	if Rejected(err) || TopicTrouble(err) || Fatal(err) || !MaybeWritten(err) || Class(err) != ClassUnknown {
		t.Errorf("%v was taken for one of ours", err)
	}
	if MaybeWritten(nil) || Class(nil) != "" || Reason(nil) != "" {
		t.Error("nil was taken for an error")
	}
	if Reason(err) != "unknown: wait: context canceled" {
		t.Errorf("reason %q", Reason(err))
	}
}

func TestClassed_IsOfKafkaAndKeepsItsCause(t *testing.T) {
	plain := fmt.Errorf("open: %w", context.Canceled)
	if err := Classed(plain); !OfKafka(err) || OfKafka(plain) || Class(err) != ClassUnknown || !MaybeWritten(err) ||
		!errors.Is(err, context.Canceled) || err.Error() != plain.Error() {
		t.Errorf("%v", err)
	}
	ours := fmt.Errorf("open: %w", FromCode(50))
	if !errors.Is(Classed(ours), ours) || Classed(nil) != nil || OfKafka(nil) {
		t.Error("what has a class, or is nil, has to stay as it is")
	}
}

func TestError_EndsMakesAnyClassFatal(t *testing.T) {
	base := FromCode(-192)
	if !Fatal(base.Ends()) || Fatal(base) {
		t.Error("Ends has to make a copy that is fatal")
	}
	if got := Reason(base.With("orders[3]")); got != "timed_out: no ack within the message timeout: orders[3] (kafka code -192)" {
		t.Errorf("reason %q", got)
	}
	if !errors.As(error(base), new(*Error)) || strings.ToLower(base.Error()) != base.Error() {
		t.Errorf("%v", base)
	}
}

func TestBatchSize_CountsBytes(t *testing.T) {
	// 61 for the batch; the record: length 1, attributes 1, two deltas 2, key length 1, value length 1, header count 1.
	if got := (&Record{}).BatchSize(); got != 61+7 {
		t.Errorf("null key and value: %d", got)
	}
	if got := (&Record{Key: []byte{}, Value: []byte{}}).BatchSize(); got != 61+7 {
		t.Errorf("empty key and value: %d", got)
	}
	// A value of 64 bytes needs two bytes of length (zigzag), and so does the record.
	if got := (&Record{Value: make([]byte, 64)}).BatchSize(); got != 61+7+64+2 {
		t.Errorf("64 bytes: %d", got)
	}
	r := Record{Headers: []Header{{Key: "id", Value: []byte("x")}, {Key: "n"}}}
	if got := r.BatchSize(); got != 61+7+(1+2+1+1)+(1+1+1) {
		t.Errorf("headers: %d", got)
	}
}
