package distance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	pings     = 100
	pingBytes = 300
	loadBytes = 256 << 20
)

// Quality is what a way was like when it was measured.
type Quality struct {
	Trip           time.Duration // of some bytes there and back: the half of them
	LateTrip       time.Duration // and 95 of 100
	BytesPerSecond float64       // in one direction, written by chunks
}

// Measure puts a way of this length before a server of its own, and says what it is like.
func Measure(ctx context.Context, trip time.Duration) (q Quality, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("measure a way of %v: %w", trip, err)
		}
	}()
	err = along(ctx, trip, answering, func(conn net.Conn) (err error) {
		q.Trip, q.LateTrip, err = ping(conn)
		return err
	})
	if err != nil {
		return q, err
	}
	err = along(ctx, trip, taking, func(conn net.Conn) (err error) {
		q.BytesPerSecond, err = load(conn)
		return err
	})
	return q, err
}

// along runs a client at the end of a way to a server.
func along(ctx context.Context, trip time.Duration, serve func(net.Conn), client func(net.Conn) error) error {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer func() { _ = listener.Close() }() // it is not used any more
	running.Go(func() {
		if conn, err := listener.Accept(); err == nil {
			defer conn.Close()
			serve(conn)
		}
	})
	p, err := Start(listener.Addr().String(), trip)
	if err != nil {
		return err
	}
	defer p.Close()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.Address())
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err = client(conn)
	_, failed := p.Passed()
	return errors.Join(ctx.Err(), err, failed)
}

// answering gives each question of a ping back.
func answering(conn net.Conn) {
	question := make([]byte, pingBytes)
	for {
		if _, err := io.ReadFull(conn, question); err != nil {
			return
		}
		if _, err := conn.Write(question); err != nil {
			return
		}
	}
}

func ping(conn net.Conn) (half, late time.Duration, err error) {
	question := make([]byte, pingBytes)
	var took []time.Duration
	for n := range pings + 5 {
		began := time.Now()
		if _, err := conn.Write(question); err != nil {
			return 0, 0, err
		}
		if _, err := io.ReadFull(conn, question); err != nil {
			return 0, 0, err
		}
		if n >= 5 { // the first ones set it up
			took = append(took, time.Since(began))
		}
	}
	slices.Sort(took)
	return took[pings/2], took[pings*95/100], nil
}

// taking reads a load, and answers one byte when it has it all.
func taking(conn net.Conn) {
	if _, err := io.CopyN(io.Discard, conn, loadBytes); err == nil {
		_, _ = conn.Write([]byte{0}) // the client says what it has not got
	}
}

func load(conn net.Conn) (perSecond float64, err error) {
	bytes := make([]byte, chunkSize)
	began := time.Now()
	for range loadBytes / chunkSize {
		if _, err := conn.Write(bytes); err != nil {
			return 0, err
		}
	}
	if _, err := io.ReadFull(conn, bytes[:1]); err != nil {
		return 0, err
	}
	return loadBytes / time.Since(began).Seconds(), nil
}
