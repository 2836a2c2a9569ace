package proxy

import (
	"testing"

	"go.uber.org/goleak"
)

// TestLeaks_AreAllThatAFloodLeaves: connections end while the client sends more than the proxy has handed on.
func TestLeaks_AreAllThatAFloodLeaves(t *testing.T) {
	before := goleak.IgnoreCurrent()
	target := echo(t)
	p := startTCP(t, target)
	if err := p.EndAfterRequest(1000); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		client := dial(t, p.Address())
		for page, open := make([]byte, 1<<20), true; open; {
			_, err := client.Write(page)
			open = err == nil
		}
	}
	p.Close()
	listening := goleak.IgnoreAnyFunction("github.com/outboxrelay/relay/internal/devenv/proxy.echo.func1")
	if goleak.Find(before, listening) == nil {
		t.Error("toxiproxy has left nothing: is Leaks still wanted?")
	}
	if err := goleak.Find(append(Leaks(), before, listening)...); err != nil {
		t.Error(err)
	}
}
