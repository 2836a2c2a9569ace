package journal

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// The files of a run's folder.
const (
	RunFile         = "run.json"
	ActionsFile     = "actions.jsonl"
	LedgerFile      = "ledger.jsonl"
	WitnessFile     = "witness.jsonl"
	ConcurrentFile  = "concurrent.jsonl"
	FreshFile       = "fresh.jsonl"
	UncommittedFile = "uncommitted.jsonl"
	SamplesFile     = "samples.jsonl"
	UsageFile       = "usage.jsonl"
)

// The delivery modes, as the relay's configuration names them.
const (
	AtLeastOnce = "at_least_once"
	ExactlyOnce = "exactly_once"
)

// Run is what a run was told to do, and what the judgement needs to know of it.
type Run struct {
	Seed     uint64           `json:"seed"`
	Mode     string           `json:"mode"`
	Client   string           `json:"client,omitempty"` // kafka.client of the relays; "" in journals from before there were two
	Duration time.Duration    `json:"duration_ns"`
	Began    int64            `json:"began"`
	Commit   string           `json:"commit"`  // of the relay, as its version command says
	Servers  string           `json:"servers"` // what they are, for people
	Relays   int              `json:"relays"`
	Faults   []string         `json:"faults"`
	Topics   map[string]int32 `json:"topics"` // partitions of each
	// Late are those that were missing at first: their events wait for no fault of the relay's.
	Late     []string      `json:"late"`
	LeaseTTL time.Duration `json:"lease_ttl_ns"`
	// Progress is the topic of the relay's progress records; "" when there is none.
	Progress string `json:"progress,omitempty"`
	// Canaries are secrets that no relay may write anywhere, in base64, so that this file does not hold them.
	Canaries []string `json:"canaries"`
	Limits   Limits   `json:"limits"`
}

// Limits are what a run is judged by.
type Limits struct {
	DrainWithin time.Duration `json:"drain_within_ns"` // from the healing to the last event
	// InFlight is how many events a relay may have sent and not settled: the most copies that one disruption makes.
	InFlight     int           `json:"in_flight"`
	Aftermath    time.Duration `json:"aftermath_ns"` // how long after a disruption its copies may come
	RSS          int64         `json:"rss_bytes"`    // of one relay
	Files        int           `json:"files"`        // of one relay
	LogPerMinute int           `json:"log_per_minute"`
}

// WriteRun writes run.json.
func WriteRun(dir string, run Run) error {
	text, err := json.MarshalIndent(run, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, RunFile), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the run's description: %w", err)
	}
	return nil
}

// ReadRun reads run.json.
func ReadRun(dir string) (run Run, err error) {
	text, err := os.ReadFile(filepath.Join(dir, RunFile))
	if err != nil {
		return run, fmt.Errorf("this is not the folder of a torture run: %w", err)
	}
	if err := json.Unmarshal(text, &run); err != nil {
		return run, fmt.Errorf("read %s: %w", RunFile, err)
	}
	return run, nil
}

// Event is an event as its writer knows it.
type Event struct {
	ID    string  `json:"id"`
	Topic string  `json:"topic"`
	Key   *string `json:"key"` // nil: none
	Seq   int64   `json:"seq,omitempty"`
	// Ordered says that Seq counts the committed events of the topic and key in the order of their commits, from 1.
	Ordered   bool   `json:"ordered,omitempty"`
	Partition int32  `json:"partition"` // -1: any
	Sum       uint32 `json:"sum"`       // of topic, key, headers and payload: see Sum
	Bytes     int    `json:"bytes"`     // of key and payload
	Due       int64  `json:"due,omitempty"`
	Void      bool   `json:"void,omitempty"` // written under a savepoint that was rolled back
}

// What a ledger line says.
const (
	Intent   = "intent"   // before COMMIT: the events
	Outcome  = "outcome"  // after it: the end
	Resolved = "resolved" // of a transaction that was left prepared
)

// How a transaction ended, as its writer knows it.
const (
	Committed  = "committed"
	RolledBack = "rolled_back"
	Unknown    = "unknown"
)

// Ledger is a line about one transaction.
type Ledger struct {
	At     int64   `json:"at"`
	Writer int     `json:"writer"`
	Tx     string  `json:"tx"`
	What   string  `json:"what"`
	Kind   string  `json:"kind,omitempty"` // of the transaction: see package torture
	End    string  `json:"end,omitempty"`
	Events []Event `json:"events,omitempty"`
}

// Witness is a transaction that PostgreSQL holds in the end.
type Witness struct {
	Tx string `json:"tx"`
}

// Marks of a transaction in a partition.
const (
	MarkCommit = "commit"
	MarkAbort  = "abort"
)

// Record is a record as a reader saw it.
type Record struct {
	At        int64  `json:"at"` // when it was read
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Stamp     int64  `json:"stamp"` // its own timestamp, microseconds
	ID        string `json:"id,omitempty"`
	Key       string `json:"key,omitempty"`
	Sum       uint32 `json:"sum,omitempty"`
	// Mark is MarkCommit or MarkAbort for the end of a transaction, "" for a record.
	Mark          string `json:"mark,omitempty"`
	Producer      int64  `json:"producer,omitempty"`
	ProducerEpoch int16  `json:"producer_epoch,omitempty"`
	// Progress is what a record of the progress topic says.
	Progress *Progress `json:"progress,omitempty"`
}

// Progress is a begin record or a progress record: the first and the last of a transaction (exactly_once).
type Progress struct {
	Epoch int64 `json:"epoch"`
	Batch int64 `json:"batch"`
	Begin bool  `json:"begin,omitempty"`
}

// Sample is the row of outbox.relays when it was first seen like this.
type Sample struct {
	At        int64  `json:"at"`
	System    string `json:"system"`
	Timeline  int32  `json:"timeline"`
	Epoch     int64  `json:"epoch"`
	Holder    string `json:"holder,omitempty"`
	From      string `json:"from"`
	To        string `json:"to,omitempty"`
	After     int64  `json:"after"`
	Delivered int64  `json:"delivered"`
	Pending   int64  `json:"pending,omitempty"` // only now and then; -1 is unknown
}

// Usage is what a relay uses.
type Usage struct {
	At       int64 `json:"at"`
	Replica  int   `json:"replica"`
	Process  int   `json:"process"` // of the replica, from 1
	RSS      int64 `json:"rss"`     // bytes
	Files    int   `json:"files"`
	LogLines int64 `json:"log_lines"` // so far
}

// What an action line says.
const (
	FaultBegins = "fault_begins"
	FaultHeals  = "fault_heals" // begins to
	FaultHealed = "fault_healed"
	RelayStarts = "relay_starts"
	RelayEnded  = "relay_ended"  // by our hand
	RelayGone   = "relay_gone"   // by itself
	TopicMade   = "topic_made"   // it was missing
	Writing     = "writing"      // the load begins
	Quiet       = "quiet"        // the load has ended, all is healed
	Drained     = "drained"      // or not: see OK
	NotReady    = "not_ready"    // a relay's /readyz after the drain
	Lost        = "commits_lost" // a promotion has lost commits
	Trouble     = "trouble"      // the harness could not do something
	Operator    = "operator"     // the harness did what the relay's log asks of people
)

// Action is a line about what was done, or what happened.
type Action struct {
	At    int64  `json:"at"`
	What  string `json:"what"`
	Fault string `json:"fault,omitempty"`
	N     int    `json:"n,omitempty"` // number of the fault in this run, from 1
	// Disrupts says that a relay may have to send again what was in flight.
	Disrupts bool `json:"disrupts,omitempty"`
	// Residue says that a server held bytes back, which it may take in after the sender is gone.
	Residue bool   `json:"residue,omitempty"`
	Replica int    `json:"replica,omitempty"` // from 1
	Process int    `json:"process,omitempty"` // of the replica, from 1
	Leader  bool   `json:"leader,omitempty"`  // the replica led
	OK      bool   `json:"ok,omitempty"`
	Detail  string `json:"detail,omitempty"`
}
