package main

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestTail_PrintsRecordsAsAConsumerSeesThem(t *testing.T) {
	env, b := broker(t, map[string]int32{"orders": 2})
	produce(
		t, b,
		&kgo.Record{
			Topic: "orders", Partition: 1, Key: []byte("42"), Value: []byte(`{"a":1}`), Timestamp: time.UnixMilli(1700000000000),
			Headers: []kgo.RecordHeader{
				{Key: "id", Value: []byte("x y")}, {Key: "n", Value: nil}, {Key: "twice", Value: []byte("1")}, {Key: "twice", Value: []byte("2")},
			},
		},
		&kgo.Record{Topic: "orders", Partition: 1, Key: nil, Value: nil},
		&kgo.Record{Topic: "orders", Partition: 1, Key: []byte{}, Value: []byte("\xff")},
		&kgo.Record{Topic: "orders", Partition: 1, Key: []byte("null"), Value: []byte("\x1b[31mred\n")},
	)
	out := runRelay(t, env, "tail", "orders", "--from-beginning", "--limit", "4").wants(t, exitDone)
	want := `orders[1]@0 key=42 id="x y" n=null twice=1 twice=2  {"a":1}
orders[1]@1 key=null  null
orders[1]@2 key=""  base64:/w==
orders[1]@3 key="null"  "\x1b[31mred\n"
`
	if out != want {
		t.Errorf("printed\n%s\nwanted\n%s", out, want)
	}
	out = runRelay(t, env, "tail", "orders", "--from-beginning", "--limit", "3", "--json").wants(t, exitDone)
	wants := []string{
		`{"topic":"orders","partition":1,"offset":0,"timestamp":"2023-11-14T22:13:20Z","key":"42","headers":{"id":"x y","n":null,"twice":["1","2"]},"value":"{\"a\":1}"}`,
		`"key":null,"headers":{},"value":null}`,
		`"key":"","headers":{},"value":null,"value_base64":"/w=="}`,
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for i := range max(len(lines), len(wants)) {
		if i >= len(lines) || i >= len(wants) || !strings.HasSuffix(lines[i], wants[i]) {
			t.Fatalf("printed\n%s\nwanted\n%s", out, strings.Join(wants, "\n"))
		}
	}
}

func TestTail_MissingTopicIsSaidSo(t *testing.T) {
	env, _ := broker(t, nil)
	r := runRelay(t, env, "tail", "nothing")
	r.wants(t, exitFailed)
	if !strings.Contains(r.errors, "nothing") || !strings.Contains(r.errors, "create it") {
		t.Error(r.errors)
	}
}
