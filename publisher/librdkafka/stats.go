//go:build cgo

package librdkafka

import (
	"encoding/json"
	"sync/atomic"
)

// Stats is what librdkafka last counted, every statistics.interval.ms (5 s).
type Stats struct {
	BrokersUp int   // connections that stand
	Brokers   int   // brokers known
	Queued    int64 // records in librdkafka's queue
	Retries   int64 // requests sent again, since the producer started
	TimedOut  int64 // requests without an answer, since the producer started
}

// Stats is the zero value until the first count.
func (p *Producer) Stats() Stats { return p.stats.last() }

type statistics struct{ latest atomic.Pointer[Stats] }

func (s *statistics) last() Stats {
	if latest := s.latest.Load(); latest != nil {
		return *latest
	}
	return Stats{}
}

// take reads the few numbers we want from librdkafka's JSON. What cannot be read is left as it was: nothing depends
// on it but what people see.
func (s *statistics) take(text string) {
	var counted struct {
		Queued  int64 `json:"msg_cnt"`
		Brokers map[string]struct {
			ID       int32  `json:"nodeid"`
			State    string `json:"state"`
			Retries  int64  `json:"txretries"`
			TimedOut int64  `json:"req_timeouts"`
		} `json:"brokers"`
	}
	if json.Unmarshal([]byte(text), &counted) != nil {
		return
	}
	stats := Stats{Queued: counted.Queued}
	for _, b := range counted.Brokers {
		stats.Retries += b.Retries
		stats.TimedOut += b.TimedOut
		if b.ID < 0 { // a bootstrap address, or a logical connection
			continue
		}
		stats.Brokers++
		if b.State == "UP" {
			stats.BrokersUp++
		}
	}
	s.latest.Store(&stats)
}
