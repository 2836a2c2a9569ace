package check

import (
	"slices"
	"time"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

// Figures are what a run was like. Durations are milliseconds.
type Figures struct {
	Transactions int `json:"transactions"`
	RolledBack   int `json:"transactions_rolled_back"`
	Unknown      int `json:"transactions_unknown"` // to their writers when they ended
	Written      int `json:"events_written"`
	Committed    int `json:"events_committed"`
	Published    int `json:"records_read_committed"` // copies and all

	Lost        int `json:"lost"`
	Changed     int `json:"changed"`
	Invented    int `json:"invented"`
	Phantoms    int `json:"phantoms"`
	CommitsLost int `json:"commits_lost_by_postgresql"`

	Copies      int     `json:"copies"`
	CopiesPPM   float64 `json:"copies_per_million"`
	CopiesMost  int     `json:"copies_of_one_event"`
	OrderedKeys int     `json:"serialised_keys"`
	Inversions  int     `json:"inversions"`
	StaleTail   int     `json:"stale_tail"`
	Aborted     int     `json:"aborted_records"`
	Marks       int     `json:"transaction_marks"`
	Batches     int     `json:"committed_batches"`

	Faults      map[string]int `json:"faults"`
	Troubles    int            `json:"troubles"` // what the harness could not do
	Operated    int            `json:"operated"` // transactions that Kafka left open, ended by hand
	Terms       int            `json:"terms"`
	SessionEnds map[string]int `json:"session_ends"`
	// TakeOver is the time from a fault of the leader alone to the next session, by fault.
	TakeOver map[string]Spread `json:"take_over_ms"`
	// Recovery is the time from the healing of a fault alone to the next record that was published, by fault.
	Recovery map[string]Spread `json:"recovery_ms"`
	// Visible is the time from a commit to the record at a read_committed reader.
	VisibleQuiet   Spread  `json:"visible_quiet_ms"`
	VisibleFaulted Spread  `json:"visible_faulted_ms"`
	DrainMS        float64 `json:"drain_ms"`
	PendingMax     int64   `json:"pending_max"`

	RSSMax          int64 `json:"rss_max_bytes"`
	FilesMax        int   `json:"files_max"`
	LogPerMinuteMax int64 `json:"log_per_minute_max"`
}

// Spread is how a number of durations lie, in milliseconds.
type Spread struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// spread sorts the durations (microseconds) in place.
func spread(micros []int64) Spread {
	if len(micros) == 0 {
		return Spread{}
	}
	slices.Sort(micros)
	at := func(share float64) float64 { return millis(micros[int(share*float64(len(micros)-1))]) }
	return Spread{N: len(micros), P50: at(0.5), P99: at(0.99), Max: at(1)}
}

func millis(micros int64) float64 { return float64(micros) / 1000 }

// count fills in what the checks have not.
func (f *Figures) count(c *checker) {
	for _, t := range c.index.transactions {
		f.Transactions++
		switch t.end {
		case journal.RolledBack:
			f.RolledBack++
		case journal.Committed:
		default:
			f.Unknown++
		}
		for _, e := range t.events {
			if !e.Void {
				f.Written++
			}
		}
	}
	for _, e := range c.index.events {
		f.Published += len(e.read)
		f.CopiesMost = max(f.CopiesMost, len(e.read)-1)
	}
	f.Published += len(c.index.strangers)
	f.Copies = len(c.copies)
	if f.Committed > 0 {
		f.CopiesPPM = float64(f.Copies) / float64(f.Committed) * 1e6
	}
	for _, s := range c.book.Samples {
		f.PendingMax = max(f.PendingMax, s.Pending)
	}
	f.Faults, f.SessionEnds = map[string]int{}, map[string]int{}
	f.times(c)
	f.visible(c)
}

// times are those of faults and of what came after them.
func (f *Figures) times(c *checker) {
	var sessions, published []int64
	for _, l := range c.book.Logs {
		for _, line := range l.lines() {
			switch line.Message {
			case "session began":
				sessions = append(sessions, line.Time.UnixMicro())
			case "session ended":
				f.SessionEnds[line.Reason]++
			}
		}
	}
	for i := range c.book.Fresh {
		if c.book.Fresh[i].Mark == "" {
			published = append(published, c.book.Fresh[i].Stamp)
		}
	}
	slices.Sort(sessions)
	slices.Sort(published)
	takeOver, recovery := map[string][]int64{}, map[string][]int64{}
	quiet := int64(0)
	for _, a := range c.book.Actions {
		switch a.What {
		case journal.FaultBegins:
			f.Faults[a.Fault]++
			if next, there := after(sessions, a.At); there && a.Leader && c.alone(a.N, a.At, next) {
				takeOver[a.Fault] = append(takeOver[a.Fault], next-a.At)
			}
		case journal.FaultHealed:
			if next, there := after(published, a.At); there && c.alone(a.N, a.At, next) {
				recovery[a.Fault] = append(recovery[a.Fault], next-a.At)
			}
		case journal.Trouble:
			f.Troubles++
		case journal.Operator:
			f.Operated++
		case journal.Quiet:
			quiet = a.At
		case journal.Drained:
			f.DrainMS = millis(a.At - quiet)
		}
	}
	f.TakeOver, f.Recovery = spreads(takeOver), spreads(recovery)
}

func spreads(all map[string][]int64) map[string]Spread {
	m := map[string]Spread{}
	for name, micros := range all {
		m[name] = spread(micros)
	}
	return m
}

// after is the first of the sorted times that is not before at.
func after(times []int64, at int64) (int64, bool) {
	i, _ := slices.BinarySearch(times, at)
	if i == len(times) {
		return 0, false
	}
	return times[i], true
}

// alone says that from one moment to another no other fault than this one was at work, or had been just before: a
// take-over while Kafka is away says nothing about the lease.
func (c *checker) alone(n int, from, to int64) bool {
	const before = int64(time.Second / time.Microsecond)
	healed := map[int]int64{}
	for _, a := range c.book.Actions {
		if a.What == journal.FaultHealed {
			healed[a.N] = a.At
		}
	}
	for _, a := range c.book.Actions {
		end, known := healed[a.N]
		if a.What == journal.FaultBegins && a.N != n && a.Disrupts && a.At < to && (!known || end > from-before) {
			return false
		}
	}
	return true
}

// visible measures from a transaction's end to the first time that a reader had its event.
func (f *Figures) visible(c *checker) {
	seen := map[string]int64{}
	for i := range c.book.Concurrent {
		r := &c.book.Concurrent[i]
		if _, before := seen[r.ID]; !before && r.Mark == "" {
			seen[r.ID] = r.At
		}
	}
	var quiet, faulted []int64
	for _, e := range c.index.events {
		at, read := seen[e.ID]
		if !read || e.Due != 0 || slices.Contains(c.book.Run.Late, e.Topic) || e.tx.end != journal.Committed || e.Void {
			continue
		}
		took := max(at-e.tx.endAt, 0) // the reader may be faster than the writer's own goroutine
		if within(c.windows, e.tx.endAt, false) {
			faulted = append(faulted, took)
		} else {
			quiet = append(quiet, took)
		}
	}
	f.VisibleQuiet, f.VisibleFaulted = spread(quiet), spread(faulted)
}
