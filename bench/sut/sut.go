package sut

import (
	"context"
	"math/rand/v2"
	"strconv"

	"github.com/outboxrelay/relay/bench/rig"
)

// System brings what is in its table to the site's topic.
type System interface {
	// Install makes its table, and gets ready what needs time to get ready. It delivers nothing yet.
	Install(ctx context.Context) error
	// Insert is SQL that writes one transaction's rows: $1 topic, $2 to $3 by $4 the numbers of the events, $5 the
	// payload's filler, $6 the count of keys. "" says that it sends from memory.
	Insert() string
	// Table is what its rows are in, for VACUUM and for counting dead ones.
	Table() string
	// Begin lets it deliver, and returns at once.
	Begin(ctx context.Context) error
	// Alive is an error when it has ended by itself, or says that it has failed.
	Alive(ctx context.Context) error
	// PIDs are the processes that it consists of, PostgreSQL and Kafka aside.
	PIDs() []int
	// End stops it in good order.
	End(ctx context.Context) error
	// Close ends it in any way. Safe after End.
	Close()
}

// Kind is a system that can be opened.
type Kind struct {
	Name    string
	What    string // for the report
	Exactly bool   // each event once for a consumer of committed records
	Memory  bool   // sends from memory
	Logical bool   // needs wal_level = logical
	Daemon  bool   // is our relay: takes part in what is measured of relays only
	// Missing says why it cannot run here; nil: it can.
	Missing func(ctx context.Context) error
	Open    func(site *rig.Site, load Load) System
}

// Load is what a system is to carry.
type Load struct {
	Events     int
	Keys       int
	Bytes      int   // of a payload, about
	Partitions int32 // of the topic; 0 is four
	Ahead      int   // events that are not in the figures of a drain: what the first ones in a partition cost
}

// Filler is the part of a payload that makes up its size: letters and digits that do not compress, the same each time.
func (l Load) Filler() string {
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
	random := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, max(1, l.Bytes-len(`{"order": 123456, "text": ""}`)))
	for i := range text {
		text[i] = letters[random.IntN(len(letters))]
	}
	return string(text)
}

// Payload is the n-th event's, byte for byte as every system's Insert writes it.
func Payload(into []byte, n int, filler string) []byte {
	into = append(into, `{"order": `...)
	into = strconv.AppendInt(into, int64(n), 10)
	into = append(into, `, "text": "`...)
	into = append(into, filler...)
	return append(into, `"}`...)
}

// payloadSQL is Payload in SQL, of column n.
const payloadSQL = `'{"order": ' || n || ', "text": "' || $5::text || '"}'`

// Key of the n-th event.
func Key(n, keys int) string { return "customer-" + strconv.Itoa(n%keys) }

const keySQL = `'customer-' || n % $6::int`

const rowsSQL = `generate_series($2::int, $3::int, $4::int) n`

// InsertInto is System.Insert for a table with the columns topic, key, type and payload of type json.
func InsertInto(table string) string {
	return `insert into ` + table + ` (topic, key, type, payload)
		select $1::text, ` + keySQL + `, 'OrderPlaced', (` + payloadSQL + `)::json from ` + rowsSQL
}

// Kinds are all systems, given the binary of the relay and of this program.
func Kinds(relay, self string) []Kind {
	all := relays(relay)
	all = append(all, bares(self)...)
	all = append(all, pollerKind(self))
	return append(all, debeziums()...)
}
