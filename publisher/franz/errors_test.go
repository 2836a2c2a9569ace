package franz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/publisher"
)

func TestErrors_HaveOurClasses(t *testing.T) {
	for _, c := range []struct {
		err   error
		class string
	}{
		{kgo.ErrClientClosed, publisher.ClassCut}, {errShut, publisher.ClassCut}, {kgo.ErrAborting, publisher.ClassCut},
		{kgo.ErrMaxBuffered, publisher.ClassQueueFull}, {kgo.ErrRecordTimeout, publisher.ClassTimedOut},
		{fmt.Errorf("x: %w", kerr.MessageTooLarge), publisher.ClassTooLarge}, {kerr.InvalidRecord, publisher.ClassInvalidRecord},
		{kerr.InvalidTimestamp, publisher.ClassInvalidTimestamp}, {kerr.UnknownTopicOrPartition, publisher.ClassNoTopic},
		{kerr.UnknownTopicID, publisher.ClassNoTopic}, {kerr.TopicAuthorizationFailed, publisher.ClassForbidden},
		{errors.New("invalid record partitioning choice of 7 from 3 available"), publisher.ClassNoTopic},
		{kerr.InvalidProducerEpoch, publisher.ClassFenced}, {kerr.ProducerFenced, publisher.ClassFenced},
		{kerr.InvalidTxnState, publisher.ClassTransaction}, {kerr.OperationNotAttempted, publisher.ClassTransaction},
		{kerr.SaslAuthenticationFailed, publisher.ClassAuthentication}, {kerr.TransactionalIDAuthorizationFailed, publisher.ClassUnauthorized},
		{context.DeadlineExceeded, publisher.ClassTimedOut}, {io.EOF, publisher.ClassTransport}, {errors.New("what"), publisher.ClassUnknown},
	} {
		got := asError(c.err)
		if got.Class() != c.class {
			t.Errorf("%v: class %s, want %s", c.err, got.Class(), c.class)
		}
		if maybe := c.class == publisher.ClassCut || c.class == publisher.ClassUnknown || c.class == publisher.ClassTimedOut; maybe && !publisher.MaybeWritten(got) {
			t.Errorf("%v: is said to be surely unwritten", c.err)
		}
		if strings.Contains(got.Error(), "x: ") {
			t.Errorf("%v: repeats what is around the cause", got)
		}
	}
}
