package franz

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/certs"
)

const (
	codeNoPartition = -190 // librdkafka's numbers for what has none in the protocol
	codeQueueFull   = -184
)

// asError gives an error of franz-go our classes.
func asError(err error) *publisher.Error {
	if ours, ok := errors.AsType[*publisher.Error](err); ok {
		return ours
	}
	switch {
	case isShut(err), errors.Is(err, kgo.ErrClientClosed), errors.Is(err, kgo.ErrAborting):
		return publisher.NewError(publisher.ClassCut, "given up when the producer ended")
	case errors.Is(err, kgo.ErrMaxBuffered):
		return publisher.FromCode(codeQueueFull)
	}
	if theirs, ok := errors.AsType[*kerr.Error](err); ok {
		return publisher.FromCode(int(theirs.Code))
	}
	switch {
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return publisher.NewError(publisher.ClassTimedOut, "no answer in time")
	case strings.Contains(err.Error(), "invalid record partitioning choice"):
		return publisher.FromCode(codeNoPartition)
	case isTransport(err):
		return publisher.NewError(publisher.ClassTransport, certs.Innermost(err).Error())
	}
	return publisher.NewError(publisher.ClassUnknown, certs.Innermost(err).Error())
}

// notAnswered gives a failed question a class; one that took too long means that the brokers are away.
func notAnswered(err error) *publisher.Error {
	e := asError(err)
	switch e.Class() {
	case publisher.ClassTimedOut, publisher.ClassUnknown, publisher.ClassCut:
		return publisher.NewError(publisher.ClassTransport, "the brokers do not answer")
	}
	return e
}

func isTransport(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[*kgo.ErrFirstReadEOF](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		strings.Contains(err.Error(), "broker connection has died")
}
