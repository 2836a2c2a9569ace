package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// description is what a node says of its cluster.
type description struct {
	clusterID string
	ports     []int32 // of the brokers it knows
}

// A Metadata request, version 2, for no topic. Layout: https://kafka.apache.org/protocol#The_Messages_Metadata
var metadataRequest = []byte{
	0, 0, 0, 23, // bytes that follow
	0, 3, 0, 2, // api key Metadata, version 2
	0, 0, 0, 7, // correlation id
	0, 9, 'd', 'e', 'v', '-', 'k', 'a', 'f', 'k', 'a', // client id
	0, 0, 0, 0, // no topics
}

// describe asks one node. It is written out here, because a client library would make every user of this package
// depend on one.
func describe(ctx context.Context, address string) (description, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return description{}, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return description{}, err
		}
	}
	if _, err := conn.Write(metadataRequest); err != nil {
		return description{}, err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return description{}, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > 1<<20 {
		return description{}, fmt.Errorf("read metadata: %d bytes is no answer of a small cluster", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(conn, body); err != nil {
		return description{}, err
	}
	return parseMetadata(body)
}

// parseMetadata reads what follows the size: correlation id, brokers (id, host, port, rack), cluster id, …
func parseMetadata(body []byte) (description, error) {
	r := reader{rest: body}
	if r.int32() != 7 {
		return description{}, errors.New("read metadata: an answer to another question")
	}
	var d description
	for range r.int32() {
		r.int32()
		_ = r.string()
		d.ports = append(d.ports, r.int32())
		_ = r.string()
		if r.short {
			break
		}
	}
	d.clusterID = r.string()
	if r.short {
		return description{}, errors.New("read metadata: the answer ends too early")
	}
	return d, nil
}

// reader takes values from the front; when there are too few bytes it gives zeroes and remembers.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.short, r.rest = true, nil
		return make([]byte, min(n, 4))
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) int32() int32 { return int32(binary.BigEndian.Uint32(r.take(4))) }

// string reads one that may be null (length -1), which is "".
func (r *reader) string() string {
	n := int16(binary.BigEndian.Uint16(r.take(2)))
	if n < 0 {
		return ""
	}
	return string(r.take(int(n)))
}
