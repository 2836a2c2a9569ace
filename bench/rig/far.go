package rig

import "github.com/outboxrelay/relay/bench/distance"

// far is the listener whose clients have a way to go.
const far = "FAR"

// putFar is kafka.Listener.Advertise. Asked again, because a port was taken, it starts anew.
func (r *Rig) putFar(_ int, address string) (string, error) {
	if r.Way != nil {
		r.Way.Close()
	}
	way, err := distance.Start(address, 0)
	if err != nil {
		return "", err
	}
	r.Way = way
	return way.Address(), nil
}

// FarBrokers is the address list of a client with a way to go: it passes Way, for good.
func (r *Rig) FarBrokers() []string { return r.Kafka.BrokersOf(far) }
