package proxy

import "fmt"

// Node is the way to one broker: what a client sends passes Wire first, and then Net.
type Node struct {
	Wire *Wire
	Net  *TCP
}

// Fleet is a Node before each broker of a cluster. Its Advertise is what kafka.Options takes; Node is called when the
// cluster runs. For one goroutine.
type Fleet struct {
	nodes map[int]*Node
}

// NewFleet has no node yet.
func NewFleet() *Fleet { return &Fleet{nodes: map[int]*Node{}} }

// Advertise puts a Node before a broker's address, and returns the one that clients are to use. Asked again for the
// same broker, because its port was taken, it starts anew.
func (f *Fleet) Advertise(broker int, address string) (string, error) {
	if old := f.nodes[broker]; old != nil {
		old.close()
		delete(f.nodes, broker)
	}
	carrier, err := StartTCP(address)
	if err != nil {
		return "", fmt.Errorf("before broker %d: %w", broker, err)
	}
	wire, err := StartWire(carrier.Address())
	if err != nil {
		carrier.Close()
		return "", fmt.Errorf("before broker %d: %w", broker, err)
	}
	f.nodes[broker] = &Node{Wire: wire, Net: carrier}
	return wire.Address(), nil
}

// Node is the way to a broker, counted from 0.
func (f *Fleet) Node(broker int) *Node { return f.nodes[broker] }

// Close ends all nodes. Safe twice.
func (f *Fleet) Close() {
	for _, n := range f.nodes {
		n.close()
	}
}

func (n *Node) close() {
	n.Wire.Close()
	n.Net.Close()
}
