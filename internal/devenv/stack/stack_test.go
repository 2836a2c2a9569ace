package main

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestParse(t *testing.T) {
	got, err := parse([]string{"-relay", "orders", "-relay", "zipped=gzip", "-topic", "a", "-topic", "b=4"})
	want := options{
		relays: []relaySpec{{"orders", "none"}, {"zipped", "gzip"}},
		topics: []topicSpec{{"a", 1}, {"b", 4}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, args := range [][]string{{"-relay", "No Name"}, {"-topic", "a=many"}, {"-topic", "=2"}, {"orders"}} {
		if _, err := parse(args); err == nil || !strings.Contains(err.Error(), args[len(args)-1]) {
			t.Errorf("%v: got %v; want an error that names the argument", args, err)
		}
	}
}

func TestRun_EndsEverythingWhenStandardInputCloses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a real Apache Kafka, which -short leaves out")
	}
	in, closeIn := io.Pipe()
	out, answer := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(t.Context(), []string{"-relay", "orders", "-topic", "orders"}, in, answer) }()

	var where place
	if err := json.NewDecoder(out).Decode(&where); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), where.Databases["orders"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `insert into outbox.events (topic, payload) values ('orders', '{}')`); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		var status string
		if err := conn.QueryRow(t.Context(), `select status from outbox.delivery`).Scan(&status); err != nil {
			t.Fatal(err)
		}
		if status == "delivered" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the relay did not deliver: %s", status)
		}
	}

	closeIn.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if _, err := pgx.Connect(t.Context(), where.Databases["orders"]); err == nil {
		t.Error("PostgreSQL still runs")
	}
}

func TestRun_SaysWhatIsWrong(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-relay", "no spaces"}, strings.NewReader(""), &out); err == nil || out.Len() > 0 {
		t.Errorf("got %v and %q; want an error and nothing printed", err, out.String())
	}
}
