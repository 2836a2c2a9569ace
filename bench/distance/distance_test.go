package distance

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is measured through the proxy is only as good as the proxy: each way has the length that was asked for, and is
// wide: one that read no further while it waits would carry some ten MB/s over the longest. How much this one carries
// where nothing else runs stands beside the figures. A busy machine gets some tries; that a way is never too short holds
// in all.
func TestMeasure_AWayIsAsLongAsAskedAndWide(t *testing.T) {
	const (
		tolerance = 700 * time.Microsecond
		wanted    = 100e6 // bytes a second
		tries     = 10
	)
	for _, trip := range []time.Duration{0, 2 * time.Millisecond, 10 * time.Millisecond} {
		for try := 1; ; try++ {
			q, err := Measure(t.Context(), trip)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%v: %v there and back, 95 of 100 within %v, %.0f MB/s", trip, q.Trip, q.LateTrip, q.BytesPerSecond/1e6)
			if q.Trip < trip {
				t.Fatalf("a way of %v took %v", trip, q.Trip)
			}
			if q.Trip <= trip+tolerance && q.BytesPerSecond >= wanted {
				break
			}
			if try == tries {
				t.Fatalf("a way of %v took %v and carried %.0f MB/s", trip, q.Trip, q.BytesPerSecond/1e6)
			}
		}
	}
}

func TestProxy_CarriesEveryByteInOrderAndTheEndBehindThem(t *testing.T) {
	echo := serve(t, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
	p := start(t, echo, 4*time.Millisecond)
	conn := dial(t, p)
	sent := make([]byte, 3<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(sent)
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		for rest := sent; len(rest) > 0; {
			n := min(len(rest), 1+rand.IntN(100_000))
			if _, err := conn.Write(rest[:n]); err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back, the same: %v; %v", len(got), len(sent), bytes.Equal(got, sent), err)
	}
}

// Bytes that follow one another do not wait for one another: of many small writes, each later than the one before, the
// last is as long on its way as the first.
func TestProxy_WhatFollowsDoesNotWait(t *testing.T) {
	const trip, writes = 100 * time.Millisecond, 20
	echo := serve(t, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
	p := start(t, echo, trip)
	conn := dial(t, p)
	began := time.Now()
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for range writes {
			<-tick.C
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Error(err)
				return
			}
		}
	})
	if _, err := io.ReadFull(conn, make([]byte, writes)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < trip || took > 5*trip {
		t.Errorf("%d writes were on a way of %v for %v", writes, trip, took)
	}
	if passed, err := p.Passed(); err != nil || passed.Bytes != 2*writes || passed.Late < 0 || passed.Late > trip {
		t.Errorf("%+v, %v: want %d bytes there and as many back", passed, err, writes)
	}
}

func TestProxy_EndsWhatItCannotCarry(t *testing.T) {
	gone, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	conn := dial(t, start(t, gone.Addr().String(), 0))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a byte came from a server that is gone")
	}

	silent := serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	p := start(t, silent, time.Hour)
	conn = dial(t, p)
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a byte came from a proxy that is closed")
	} else if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the connection outlived its proxy")
	}
}

// serve answers each connection by a function.
func serve(t *testing.T, answer func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				answer(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

func start(t *testing.T, target string, trip time.Duration) *Proxy {
	t.Helper()
	p, err := Start(target, trip)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}
