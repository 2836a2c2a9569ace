package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// echo answers every byte with itself.
func echo(t *testing.T) (address string) {
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
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

func startTCP(t *testing.T, target string) *TCP {
	t.Helper()
	p, err := StartTCP(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask sends a text and reads its echo; what came back until the limit, and how long it took.
func ask(t *testing.T, conn net.Conn, text string, limit time.Duration) (string, time.Duration, error) {
	t.Helper()
	began := time.Now()
	if _, err := conn.Write([]byte(text)); err != nil {
		return "", 0, err
	}
	if err := conn.SetReadDeadline(began.Add(limit)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len(text))
	n, err := io.ReadFull(conn, answer)
	return string(answer[:n]), time.Since(began), err
}

func mustAsk(t *testing.T, conn net.Conn, text string) time.Duration {
	t.Helper()
	got, took, err := ask(t, conn, text, 10*time.Second)
	if err != nil || got != text {
		t.Fatalf("sent %q, got %q, %v", text, got, err)
	}
	return took
}

func heal(t *testing.T, p *TCP) {
	t.Helper()
	if err := p.Heal(); err != nil {
		t.Fatal(err)
	}
}

func TestTCP_CutEndsConnectionsAndHealListensOnTheSamePort(t *testing.T) {
	p := startTCP(t, echo(t))
	conn := dial(t, p.Address())
	mustAsk(t, conn, "before")
	p.Cut()
	if got, _, err := ask(t, conn, "cut", 10*time.Second); err == nil {
		t.Errorf("a cut connection answered %q", got)
	}
	if _, err := net.Dial("tcp", p.Address()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connect while cut: %v, want it refused", err)
	}
	heal(t, p)
	heal(t, p) // nothing to heal
	mustAsk(t, dial(t, p.Address()), "after")
}

func TestTCP_HangKeepsTheConnectionOpenAndSilent(t *testing.T) {
	p := startTCP(t, echo(t))
	conn := dial(t, p.Address())
	mustAsk(t, conn, "before")
	if err := p.Hang(); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if got, _, err := ask(t, conn, "into the void", 200*time.Millisecond); got != "" || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %q, %v, want silence", got, err)
	}
	if got, _, err := ask(t, dial(t, p.Address()), "anew", 200*time.Millisecond); got != "" || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a new connection got %q, %v, want silence", got, err)
	}
	heal(t, p)
	mustAsk(t, dial(t, p.Address()), "after")
}

func TestTCP_DelayAndThrottle(t *testing.T) {
	p := startTCP(t, echo(t))
	conn := dial(t, p.Address())
	if err := p.Delay(100 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if took := mustAsk(t, conn, "slow"); took < 200*time.Millisecond {
		t.Errorf("a round trip took %v, want two delays of 100 ms", took)
	}
	heal(t, p)
	if err := p.Throttle(100); err != nil {
		t.Fatal(err)
	}
	if took := mustAsk(t, dial(t, p.Address()), string(bytes.Repeat([]byte("x"), 50_000))); took < 400*time.Millisecond {
		t.Errorf("50 kB at 100 kB/s took %v", took)
	}
}

func TestTCP_EndsAConnectionAfterSoManyBytes(t *testing.T) {
	for name, limit := range map[string]func(*TCP, int64) error{
		"request": (*TCP).EndAfterRequest, "answer": (*TCP).EndAfterAnswer,
	} {
		t.Run(name, func(t *testing.T) {
			p := startTCP(t, echo(t))
			if err := limit(p, 10); err != nil {
				t.Fatal(err)
			}
			conn := dial(t, p.Address())
			got, _, err := ask(t, conn, "0123456789abcdef", 10*time.Second)
			var timeout net.Error
			if got != "0123456789" && name == "answer" || err == nil || errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("got %q, %v, want ten bytes and the end", got, err)
			}
		})
	}
}

func TestTCP_ResetIsOneForTheClient(t *testing.T) {
	p := startTCP(t, echo(t))
	old := dial(t, p.Address())
	mustAsk(t, old, "before")
	if err := p.Reset(0); err != nil {
		t.Fatal(err)
	}
	if got, _, err := ask(t, old, "more", 10*time.Second); err == nil {
		t.Errorf("the old connection answered %q", got)
	}
	_, _, err := ask(t, dial(t, p.Address()), "new", 10*time.Second)
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a new connection: %v, want a reset", err)
	}
}
