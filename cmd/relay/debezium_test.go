package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/devenv/connect"
	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/migrate"
)

// debeziumSite is a real Kafka, a PostgreSQL with the outbox in it, and Debezium on Kafka Connect.
type debeziumSite struct {
	t      *testing.T
	ctx    context.Context
	url    string
	db     *pgx.Conn
	env    []string
	worker *connect.Worker
	admin  *kadm.Client
}

// debeziumTable is what Debezium's documentation shows. A column may be null here that is none there.
const debeziumTable = `create table %s (id uuid primary key default gen_random_uuid(), aggregatetype varchar(255) not null,
	aggregateid varchar(255), type varchar(255) not null, payload %s)`

func newDebeziumSite(t *testing.T) *debeziumSite {
	t.Helper()
	cluster := kafka.ForTest(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	pg, err := postgres.Start(ctx, postgres.Options{Settings: map[string]string{"wal_level": "logical", "fsync": "off"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Stop)
	s := &debeziumSite{t: t, ctx: ctx, url: pg.URL("postgres")}
	migrate.ForTest(t, s.url, "outbox")
	if s.db, err = pgx.Connect(ctx, s.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closePostgres(s.db) })
	if s.worker, err = connect.Start(ctx, connect.Options{Brokers: cluster.Brokers()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.worker.Stop)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s.admin = kadm.NewClient(client)
	s.env = []string{"RELAY_POSTGRES_URL=" + s.url, "RELAY_KAFKA_BROKERS=" + strings.Join(cluster.Brokers(), ","),
		"RELAY_OUTBOX_WAKE=poll", "RELAY_HTTP_LISTEN="}
	return s
}

// connector is Debezium's outbox event router as it is by default, on these tables.
func (s *debeziumSite) connector(slot, tables string, more map[string]string) {
	s.t.Helper()
	config, err := connect.OutboxConnector(s.url, slot, map[string]string{"table.include.list": tables,
		"transforms.outbox.route.topic.replacement": "outbox.event.${routedByValue}"})
	if err != nil {
		s.t.Fatal(err)
	}
	delete(config, "transforms.outbox.table.fields.additional.placement")
	maps.Copy(config, more)
	if err := s.worker.Create(s.ctx, slot, config); err != nil {
		s.t.Fatal(err)
	}
	if err := connect.SlotActive(s.ctx, s.db, slot); err != nil {
		s.t.Fatal(err)
	}
}

func (s *debeziumSite) topics(partitions int32, names ...string) {
	s.t.Helper()
	answers, err := s.admin.CreateTopics(s.ctx, partitions, 1, nil, names...)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// forget empties topics by making them anew.
func (s *debeziumSite) forget(partitions int32, names ...string) {
	s.t.Helper()
	if _, err := s.admin.DeleteTopics(s.ctx, names...); err != nil {
		s.t.Fatal(err)
	}
	until(s.t, "the topics are gone", func() bool {
		there, err := s.admin.ListTopics(s.ctx, names...)
		return err == nil && !slices.ContainsFunc(names, there.Has)
	})
	s.topics(partitions, names...)
}

// records reads the first n of the topics, each topic's partitions in their order.
func (s *debeziumSite) records(n int, topics ...string) map[string][]*kgo.Record {
	s.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(strings.TrimPrefix(s.env[1], "RELAY_KAFKA_BROKERS="), ",")...),
		kgo.ConsumeTopics(topics...), kgo.DisableFetchSessions(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	read := map[string][]*kgo.Record{}
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	for got := 0; got < n; {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			s.t.Fatalf("%d records of %d within a minute", got, n)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			place := fmt.Sprint(r.Topic, "/", r.Partition)
			read[place] = append(read[place], r)
			got++
		})
	}
	return read
}

// shown is a record without its time, and how many headers it has that begin with one of these.
func shown(r *kgo.Record, others ...string) (text string, more int) {
	text = fmt.Sprintf("key %q nil %t, value %q nil %t", r.Key, r.Key == nil, r.Value, r.Value == nil)
	for _, h := range r.Headers {
		if slices.ContainsFunc(others, func(other string) bool { return strings.HasPrefix(h.Key, other) }) {
			more++
			continue
		}
		text += fmt.Sprintf(", %s=%q", h.Key, h.Value)
	}
	return text, more
}

// What docs/moving-from-debezium.md says, tried with Debezium itself.
func TestAdopt_MovesFromDebezium(t *testing.T) {
	s := newDebeziumSite(t)
	for name, part := range map[string]func(*testing.T, *debeziumSite){"same": recordsAreDebeziums, "differs": differsFromDebezium, "seam": leavesDebeziumsPublication} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			part(t, s)
		})
	}
}

// The same rows, brought to Kafka by Debezium and by us: topic, partition, key, value, the header id and the order
// within each partition are the same, byte for byte.
func recordsAreDebeziums(t *testing.T, s *debeziumSite) {
	kinds := []string{"text", "json", "jsonb", "bytea"}
	topics := []string{}
	for _, kind := range kinds {
		execute(t, s.db, fmt.Sprintf(debeziumTable, "outbox_"+kind, kind))
		topics = append(topics, "outbox.event.order-"+kind)
		runRelay(t, s.env, "adopt", "public.outbox_"+kind, "--map", "debezium").wants(t, exitDone)
	}
	s.topics(3, topics...)
	s.connector("three", "public.outbox_text,public.outbox_json,public.outbox_jsonb", nil)
	s.connector("raw", "public.outbox_bytea", map[string]string{"value.converter": "io.debezium.converters.BinaryDataConverter"})
	payloads := map[string][]any{
		"text":  {"plain", "", `{ "a":1, "ü":"\u0000 \ud800" }`, "line\nand\ttab", strings.Repeat("long ", 20_000), "😀", nil},
		"json":  {`{ "b":1e2,  "a":[1, 2] }`, `"text"`, `17`, ` null `, `{"big": 9007199254740993}`, nil},
		"jsonb": {`{ "b":1e2,  "a":[1, 2], "b":2 }`, `"text"`, `17`, `null`, nil},
		"bytea": {[]byte{0, 0, 0, 0, 1, 255}, []byte{}, []byte(`{"a":1}`), nil},
	}
	n := 0
	for round := range 6 { // one transaction a row, so that its order is the same for both
		for _, kind := range kinds {
			for i, payload := range payloads[kind] {
				_, err := s.db.Exec(s.ctx, `insert into outbox_`+kind+` (aggregatetype, aggregateid, type, payload) values ($1, $2, $3, $4)`,
					"order-"+kind, []string{"42", "käse", "", `{"k":1}`, "a b", strings.Repeat("x", 200)}[(round+i)%6], "OrderPlaced", payload)
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
		}
	}
	// Inserted and deleted in one transaction, as many do.
	execute(t, s.db, `begin; insert into outbox_text (aggregatetype, aggregateid, type, payload) values ('order-text', '42', 'OrderPlaced', 'gone'); delete from outbox_text; commit`)
	n++
	theirs := s.records(n, topics...)
	for _, slot := range []string{"three", "raw"} {
		if err := s.worker.Delete(s.ctx, slot); err != nil {
			t.Fatal(err)
		}
	}
	s.forget(3, topics...)
	startDaemon(t, s.env)
	ours := s.records(n, topics...)

	if !slices.Equal(slices.Sorted(maps.Keys(theirs)), slices.Sorted(maps.Keys(ours))) {
		t.Errorf("partitions %v and %v", slices.Sorted(maps.Keys(theirs)), slices.Sorted(maps.Keys(ours)))
	}
	compared := 0
	for place, records := range theirs {
		for i, r := range records {
			if i >= len(ours[place]) {
				t.Errorf("%s: %d records of theirs, %d of ours", place, len(records), len(ours[place]))
				break
			}
			want, own := shown(r, "__debezium.context.")
			if got, more := shown(ours[place][i], "type", "created_at"); got != want || more != 2 || own != 4 {
				t.Errorf("%s, record %d:\nours   %.300s\ntheirs %.300s", place, i, got, want)
			}
			compared++
		}
	}
	if compared != n || len(theirs) < 8 {
		t.Errorf("%d of %d records compared, on %d partitions", compared, n, len(theirs))
	}
	t.Logf("%d records on %d partitions compared", compared, len(theirs))
}

// Where the page says that we differ, both do what it says.
func differsFromDebezium(t *testing.T, s *debeziumSite) {
	const payload = `{ "a":1 }`
	for _, c := range []struct {
		name         string
		more         map[string]string
		key          any
		theirs, ours string
	}{
		{"nokey", nil, nil, `key "" nil true`, `key "" nil true`}, // this one is the same, but for the partition
		{"quoted", map[string]string{"value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": "false"}, "k",
			`value "\"{ \\\"a\\\":1 }\""`, `value "{ \"a\":1 }"`},
		{"expanded", map[string]string{"value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": "false",
			"transforms.outbox.table.expand.json.payload": "true"}, "k", `value "{\"a\":1}"`, `value "{ \"a\":1 }"`},
	} {
		table, topic := "public.outbox_"+c.name, "outbox.event."+c.name
		execute(t, s.db, fmt.Sprintf(debeziumTable, table, "json"))
		s.topics(1, topic)
		s.connector(c.name, table, c.more)
		runRelay(t, s.env, "adopt", table, "--map", "debezium").wants(t, exitDone)
		execute(t, s.db, `insert into `+table+` (aggregatetype, aggregateid, type, payload) values ($1, $2, 'T', $3)`, c.name, c.key, payload)
		if got, _ := shown(s.records(1, topic)[topic+"/0"][0]); !strings.Contains(got, c.theirs) {
			t.Errorf("%s: theirs is %s, want %s", c.name, got, c.theirs)
		}
		if err := s.worker.Delete(s.ctx, c.name); err != nil {
			t.Fatal(err)
		}
		s.forget(1, topic)
		halt := startDaemon(t, s.env)
		if got, _ := shown(s.records(1, topic)[topic+"/0"][0]); !strings.Contains(got, c.ours) {
			t.Errorf("%s: ours is %s, want %s", c.name, got, c.ours)
		}
		halt()
	}
}

// An application goes on writing while its table moves from Debezium to us: with --leave-publication each row is
// published once, by one of the two, and the rows of a key stay in order.
func leavesDebeziumsPublication(t *testing.T, s *debeziumSite) {
	const topic = "outbox.event.seam"
	execute(t, s.db, fmt.Sprintf(debeziumTable, "outbox_seam", "text"))
	s.topics(1, topic)
	s.connector("seam", "public.outbox_seam", nil)
	writing, stop := context.WithCancel(s.ctx)
	written := make(chan int, 1)
	writer, err := pgx.Connect(s.ctx, s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer closePostgres(writer)
	go func() {
		n := 0
		for ; writing.Err() == nil; n++ {
			if _, err := writer.Exec(s.ctx, `insert into outbox_seam (aggregatetype, aggregateid, type, payload) values ('seam', $1, 'T', $2)`,
				fmt.Sprint(n%5), fmt.Sprint(n)); err != nil {
				t.Error(err)
				break
			}
		}
		written <- n
	}()
	s.records(100, topic)
	runRelay(t, s.env, "adopt", "public.outbox_seam", "--map", "debezium", "--leave-publication", "seam").wants(t, exitDone)
	until(t, "events come to the outbox", func() bool {
		return query(t, s.db, `select (count(*) > 100)::text from outbox.events where topic = '`+topic+`'`) == "true"
	})
	stop()
	n := <-written
	// Debezium ends what is its own; only then do we begin, so that nothing of ours overtakes.
	var events int
	if err := s.db.QueryRow(s.ctx, `select count(*) from outbox.events where topic = $1`, topic).Scan(&events); err != nil {
		t.Fatal(err)
	}
	if got := len(s.records(n-events, topic)[topic+"/0"]); got != n-events {
		t.Errorf("%d records of Debezium before the relay began, of %d rows before the seam", got, n-events)
	}
	startDaemon(t, s.env)
	settledAll(t, s.db)
	records := s.records(n, topic)[topic+"/0"]
	for i, r := range records {
		if string(r.Value) != fmt.Sprint(i) {
			t.Fatalf("record %d is row %s: %d rows, %d of them ours", i, r.Value, n, events)
		}
	}
	// It would be late for Debezium to send another.
	if offsets, err := s.admin.ListEndOffsets(s.ctx, topic); err != nil || offsets[topic][0].Offset != int64(n) {
		t.Errorf("%d records for %d rows, %v", offsets[topic][0].Offset, n, err)
	}
	t.Logf("%d rows by Debezium, %d by the relay", n-events, events)
}
