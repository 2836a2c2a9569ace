package relay

// adrift says, after the session's end, whether a record that it has handed over may still reach Kafka: one that was
// given up without an answer can lie in a socket or with a broker that stalls. Such a record would come after those of
// a successor that begins at once; one that waits for the lease to expire begins when the broker's time for it is over
// (see MessageTimeout). With exactly_once Kafka refuses it by itself.
func (s *session) adrift() bool {
	if s.ledger == nil || s.settle == nil {
		return false
	}
	for _, b := range append(s.ledger.queue, s.feed.batch) {
		for i := range b.tickets {
			if fate := b.tickets[i].fate; fate == waiting || fate == failed {
				return true
			}
		}
	}
	return s.runner.dock.adrift.Load()
}
