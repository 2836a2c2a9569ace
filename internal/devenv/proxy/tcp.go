package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/outboxrelay/relay/internal/devenv/process"
)

// TCP carries bytes to one address. Its faults add up until Heal takes them all away. Safe from many goroutines.
type TCP struct {
	server *toxiproxy.ApiServer // only what a proxy logs and counts to; nothing listens

	mu     sync.Mutex
	proxy  *toxiproxy.Proxy
	faults int // toxics so far; they are named by number
}

// StartTCP listens on a free port of 127.0.0.1, and carries what comes there to the target, a host:port that needs not
// answer yet. The caller closes it.
func StartTCP(target string) (*TCP, error) {
	t := &TCP{server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
	const tries = 5 // somebody may take the port between the look for it and the start
	for try := 1; ; try++ {
		port, err := process.FreePort()
		if err != nil {
			return nil, fmt.Errorf("start a proxy: %w", err)
		}
		t.proxy = toxiproxy.NewProxy(t.server, target, fmt.Sprintf("127.0.0.1:%d", port), target)
		err = t.proxy.Start()
		if err == nil {
			return t, nil
		}
		if try == tries || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("start a proxy: %w", err)
		}
	}
}

// Address is where clients connect, a host:port.
func (t *TCP) Address() string { return t.proxy.Listen }

// Cut ends every connection and refuses new ones.
func (t *TCP) Cut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.proxy.Stop()
}

// Hang lets no byte pass in either direction: connections stay open and new ones are taken, as when a machine is gone
// and nobody says so. What a client sent meanwhile is lost to Heal, which ends the connections that hung.
func (t *TCP) Hang() error {
	return t.add("timeout", map[string]int64{"timeout": 0}, "upstream", "downstream")
}

// Delay lets every byte wait, in each direction: a round trip takes twice as long.
func (t *TCP) Delay(by time.Duration) error {
	return t.add("latency", map[string]int64{"latency": by.Milliseconds()}, "upstream", "downstream")
}

// Throttle lets so many kilobytes a second pass, on each connection, in each direction.
func (t *TCP) Throttle(kbPerSecond int64) error {
	return t.add("bandwidth", map[string]int64{"rate": kbPerSecond}, "upstream", "downstream")
}

// EndAfterRequest ends a connection when the client has sent so many bytes. The count begins now; what is too much
// does not arrive.
func (t *TCP) EndAfterRequest(bytes int64) error {
	return t.add("limit_data", map[string]int64{"bytes": bytes}, "upstream")
}

// EndAfterAnswer ends a connection when the server has sent so many bytes. The count begins now; what is too much does
// not arrive.
func (t *TCP) EndAfterAnswer(bytes int64) error {
	return t.add("limit_data", map[string]int64{"bytes": bytes}, "downstream")
}

// Reset ends the connections that there are, and answers new ones with a TCP reset after so long.
func (t *TCP) Reset(after time.Duration) error {
	return t.add("reset_peer", map[string]int64{"timeout": after.Milliseconds()}, "upstream")
}

// Heal takes every fault away. Only then is the address listened on again after Cut; the error says when somebody has
// taken the port meanwhile.
func (t *TCP) Heal() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.faults > 0 {
		// Taking a toxic out of a connection that hangs in it waits for its bytes. Connections that were broken are
		// not to be trusted anyway.
		t.proxy.Stop()
		t.proxy = toxiproxy.NewProxy(t.server, t.proxy.Name, t.proxy.Listen, t.proxy.Upstream)
		t.faults = 0
	}
	if err := t.proxy.Start(); err != nil && !errors.Is(err, toxiproxy.ErrProxyAlreadyStarted) {
		return fmt.Errorf("heal the proxy of %s: %w", t.proxy.Upstream, err)
	}
	return nil
}

// Close ends every connection and frees the port. Safe twice.
func (t *TCP) Close() { t.Cut() }

func (t *TCP) add(kind string, attributes map[string]int64, directions ...string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, direction := range directions {
		t.faults++
		toxic, err := json.Marshal(map[string]any{
			"name": fmt.Sprint(t.faults), "type": kind, "stream": direction, "toxicity": 1, "attributes": attributes,
		})
		if err == nil {
			_, err = t.proxy.Toxics.AddToxicJson(bytes.NewReader(toxic))
		}
		if err != nil {
			return fmt.Errorf("add %s to the proxy of %s: %w", kind, t.proxy.Upstream, err)
		}
	}
	return nil
}
