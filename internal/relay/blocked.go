package relay

import (
	"hash/maphash"
	"sync"
)

// blocked are the topics and keys whose events stand aside, so that later ones do not pass them. Keys are kept as
// hashes: two that collide only send an innocent key behind for a while. Feed asks and parks, the parked runner opens.
type blocked struct {
	mu   sync.Mutex
	seed maphash.Seed
	skip bool              // parked.on_dead = "skip": a dead event blocks no key
	keys map[uint64]string // why, as said to the next event of the key
	all  map[string]string // whole topics
}

func newBlocked(skip bool) *blocked {
	return &blocked{seed: maphash.MakeSeed(), skip: skip, keys: map[uint64]string{}, all: map[string]string{}}
}

func (b *blocked) hash(topic string, key []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(b.seed)
	_, _ = h.WriteString(topic)
	_ = h.WriteByte(0)
	_, _ = h.Write(key)
	return h.Sum64()
}

// behind says why an event of this topic and key may not go; "" when it may. Events without a key have no order to
// keep, so only a whole topic can hold them.
func (b *blocked) behind(topic string, key []byte) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.all) > 0 {
		if why := b.all[topic]; why != "" {
			return why
		}
	}
	if key == nil || len(b.keys) == 0 {
		return ""
	}
	return b.keys[b.hash(topic, key)]
}

// parked notes that an event was parked in a state.
func (b *blocked) parked(topic string, key []byte, state string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case state == Scheduled || key == nil:
	case state == Dead && !b.skip:
		b.keys[b.hash(topic, key)] = "an earlier event of the key is dead"
	case state == Held:
		b.keys[b.hash(topic, key)] = "an earlier event of the key is held"
	}
}
