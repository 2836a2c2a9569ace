package relay

import (
	"maps"
	"sync"

	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/publisher"
)

// memory is what one session leaves to the next of the same term, about rows behind the cursor. It holds at most what
// was in flight. It speaks of one database cluster and timeline: a promoted standby may have lost what it knows.
type memory struct {
	identity store.Identity
	position store.Position // only for a known-bad variant: nothing but the cursor row may be started from
	// acked were stored by Kafka and are not settled yet: they are not sent again.
	acked map[rowKey]struct{}
	// sent may be stored without an ack: sending them again may make a second copy.
	sent map[rowKey]struct{}
	// suspects were refused together with their batch: each is sent alone before it is judged.
	suspects map[rowKey]struct{}
	// condemned were refused alone: the reason.
	condemned map[rowKey]string
	// troubled are topics that took no record of the last session for a reason of their own.
	troubled map[string]string
	// limit is how many rows a transaction may have.
	limit int
}

func newMemory(id store.Identity) *memory {
	return &memory{identity: id, acked: map[rowKey]struct{}{}, sent: map[rowKey]struct{}{},
		suspects: map[rowKey]struct{}{}, condemned: map[rowKey]string{}, troubled: map[string]string{}, limit: firstTransaction}
}

// of gives the memory if it speaks of this server, else an empty one.
func (m *memory) of(id store.Identity) *memory {
	if m == nil || m.identity != id {
		return newMemory(id)
	}
	return m
}

// learn takes over what became of the rows that a session could not settle. No report may come any more. With
// transactional true an ack proves nothing: its transaction was not committed.
func (m *memory) learn(unsettled []*batch, transactional bool) {
	for _, b := range unsettled {
		for i := range b.tickets {
			t := &b.tickets[i]
			switch t.fate {
			case acked:
				if !transactional {
					m.acked[t.key] = struct{}{}
				}
			case rejected:
				m.suspects[t.key] = struct{}{}
			case waiting, failed:
				if !transactional && !t.unwritten && len(m.sent) < 2*mostRows {
					m.sent[t.key] = struct{}{}
				}
			}
		}
	}
}

// take moves what a session's reports have said about rows and topics into the memory.
func (m *memory) take(f *findings) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.Copy(m.condemned, f.condemned)
	m.troubled = f.troubled
}

// findings are what reports say about rows and topics while a session runs. Safe for concurrent use.
type findings struct {
	mu        sync.Mutex
	condemned map[rowKey]string
	troubled  map[string]string
	first     error // that was reported and blames something
}

// failure notes what was reported first. What is innocent explains nothing.
func (f *findings) failure(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.first == nil && !publisher.Innocent(err) {
		f.first = err
	}
}

func (f *findings) cause() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.first
}

func newFindings() *findings {
	return &findings{condemned: map[rowKey]string{}, troubled: map[string]string{}}
}

func (f *findings) condemn(key rowKey, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.condemned[key] = why
}

func (f *findings) trouble(topic, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.troubled[topic] = why
}

// recall says whether the row was acked by an earlier session, and forgets it: the row's new ticket remembers.
func (m *memory) recall(key rowKey) bool {
	if len(m.acked) == 0 {
		return false
	}
	_, was := m.acked[key]
	delete(m.acked, key)
	return was
}

// resend says whether an earlier session has sent the row and got no answer, and forgets it.
func (m *memory) resend(key rowKey) bool {
	if len(m.sent) == 0 {
		return false
	}
	_, was := m.sent[key]
	delete(m.sent, key)
	return was
}

// suspect says whether the row has to be sent alone.
func (m *memory) suspect(key rowKey) bool {
	if len(m.suspects) == 0 {
		return false
	}
	_, is := m.suspects[key]
	return is
}

// verdict says why the row is condemned, "" when it is not, and forgets it: it is being parked.
func (m *memory) verdict(key rowKey) string {
	if len(m.condemned) == 0 {
		return ""
	}
	why := m.condemned[key]
	delete(m.condemned, key)
	delete(m.suspects, key)
	return why
}
