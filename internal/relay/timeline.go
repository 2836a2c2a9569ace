package relay

import "github.com/outboxrelay/relay/internal/store"

// history is what this process has seen of PostgreSQL's timelines.
type history struct {
	timeline int32
	changes  int64
	// before is what the cursor row counted as delivered when it was last read, less what this process had settled then.
	before int64
	lost   int64
}

// arrive compares the cursor row with what this process knows to be settled, and gives how much of that PostgreSQL has
// lost on its way to another timeline. What other replicas settled in the meantime hides some of it.
func (s *State) arrive(p *store.Position, timeline int32) (lost int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &s.history
	if p.FormerTimeline != 0 {
		h.changes++
		if h.timeline != 0 {
			lost = max(0, h.before+s.delivered.Load()-p.Delivered)
		}
		h.lost += lost
	}
	h.timeline, h.before = timeline, p.Delivered-s.delivered.Load()
	return lost
}

// noticeTimeline says loudly when PostgreSQL is not the one that the cursor was last read from. It changes nothing: the
// cursor row is in the same write-ahead log as the events, so what is missing there is missing in both.
func (s *session) noticeTimeline(p *store.Position) {
	lost := s.state.arrive(p, s.identity.Timeline)
	if p.FormerTimeline == 0 {
		return
	}
	s.Log.Warn("PostgreSQL is on another timeline: a standby was promoted, or a backup restored. Commits that it had not "+
		"received are lost, and Kafka may hold events of theirs; what is committed from now on is delivered",
		"from_timeline", p.FormerTimeline, "to_timeline", s.identity.Timeline, "settled_lost", lost)
}
