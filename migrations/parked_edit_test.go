package migrations_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestParkedEdit_ChangesWhatIsGivenAndNothingElse(t *testing.T) {
	const row = `select concat_ws('|', topic, coalesce(key, 'null'), coalesce(headers::text, 'null'), coalesce(payload::text, 'null'),
		coalesce(payload_bytes::text, 'null'), coalesce(partition::text, 'null')) from parked`
	cases := []struct{ args, want, reason string }{
		{`new_topic => 'orders'`, `orders|k|{"a": "b"}|{"n": 1}|null|3`, "edited: topic by an operator"},
		{`new_key => ''`, `t||{"a": "b"}|{"n": 1}|null|3`, "edited: key by an operator"},
		{`no_key => true`, `t|null|{"a": "b"}|{"n": 1}|null|3`, "edited: key by an operator"},
		{`new_headers => '{ }'`, `t|k|{ }|{"n": 1}|null|3`, "edited: headers by an operator"},
		{`no_headers => true`, `t|k|null|{"n": 1}|null|3`, "edited: headers by an operator"},
		{`new_payload => '{ "b":1,"a":1}'`, `t|k|{"a": "b"}|{ "b":1,"a":1}|null|3`, "edited: payload by an operator"},
		{`new_payload_bytes => '\x00ff'`, `t|k|{"a": "b"}|null|\x00ff|3`, "edited: payload by an operator"},
		{`no_payload => true`, `t|k|{"a": "b"}|null|null|3`, "edited: payload by an operator"},
		{`new_partition => 0`, `t|k|{"a": "b"}|{"n": 1}|null|0`, "edited: partition by an operator"},
		{`no_partition => true, new_topic => 'x'`, `x|k|{"a": "b"}|{"n": 1}|null|null`, "edited: topic, partition by an operator"},
	}
	_, conn := newOutbox(t)
	for _, c := range cases {
		exec(t, conn, `truncate parked; truncate operations`)
		park(t, conn, "main", "dead")
		exec(t, conn, `update parked set partition = 3`)
		due := text(t, conn, `select due_at::text from parked`)
		if n := text(t, conn, fmt.Sprintf(`select parked_edit('%s', %s)::text`, eventID(1), c.args)); n != "1" {
			t.Errorf("%s: %s edited", c.args, n)
		}
		if got := text(t, conn, row); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.args, got, c.want)
		}
		// Held, so that it is tried; its place stays; what the dead-letter topic has is not this.
		if got, want := text(t, conn, `select concat_ws('|', state, reason, due_at, lettered_at is null) from parked`), "held|"+c.reason+"|"+due+"|t"; got != want {
			t.Errorf("%s: %s, want %s", c.args, got, want)
		}
		if got := text(t, conn, operationsOf); got != "edit 1 t" {
			t.Errorf("%s: operations: %s", c.args, got)
		}
	}
	exec(t, conn, `update parked set payload = null, payload_bytes = '\x01'`)
	exec(t, conn, `select parked_edit($1, new_payload => '1')`, eventID(1))
	if got := text(t, conn, `select concat(payload, payload_bytes) from parked`); got != "1" {
		t.Errorf("bytes replaced by JSON: %s", got)
	}
}

func TestParkedEdit_StateAfterwards(t *testing.T) {
	cases := []struct{ state, args, want string }{
		{"scheduled", `new_topic => 'x'`, "scheduled why: scheduled"},
		{"held", `new_payload => '1'`, "held why: held"},
		{"held", `new_topic => 'x'`, "held edited: topic by an operator"},
		{"behind", `new_payload => '1'`, "behind why: behind"},
		{"behind", `new_topic => 't', new_key => 'k'`, "behind why: behind"},
		{"behind", `no_key => true`, "held edited: key by an operator"},
		{"dead", `new_payload => '1'`, "held edited: payload by an operator"},
	}
	_, conn := newOutbox(t)
	for _, c := range cases {
		exec(t, conn, `truncate parked`)
		park(t, conn, "main", c.state)
		due := text(t, conn, `select due_at::text from parked`)
		exec(t, conn, fmt.Sprintf(`select parked_edit('%s', %s)`, eventID(1), c.args))
		if got := text(t, conn, `select concat_ws(' ', state, reason) from parked where due_at = $1::text::timestamptz`, due); got != c.want {
			t.Errorf("%s, %s: %s, want %s", c.state, c.args, got, c.want)
		}
	}
}

func TestParkedEdit_RecordsBeforeAndAfterWithoutContents(t *testing.T) {
	_, conn := newOutbox(t)
	park(t, conn, "main", "dead")
	exec(t, conn, `select parked_edit($1, new_topic => 'x', no_key => true, no_headers => true, new_payload_bytes => 'secret')`, eventID(1))
	detail := text(t, conn, `select detail::text from operations`)
	for _, want := range []string{`"topic": {"after": "x", "before": "t"}`, `"key": {"after": null, "before": "k"}`,
		`"bytes": 6`, `"relay": "main"`, `"headers": {"after": null, "before": {`, eventID(1)} {
		if !strings.Contains(detail, want) {
			t.Errorf("%s is missing in %s", want, detail)
		}
	}
	for _, content := range []string{"secret", `"n"`, `"a"`, "partition"} {
		if strings.Contains(detail, content) {
			t.Errorf("%s is in %s", content, detail)
		}
	}
}

// The relay deletes by parked_no what Kafka has acked. An edit while the event is in flight outlives that.
func TestParkedEdit_OutlivesTheDeliveryOfWhatItWas(t *testing.T) {
	_, conn := newOutbox(t)
	park(t, conn, "main", "held")
	inFlight := text(t, conn, `select parked_no::text from parked`)
	exec(t, conn, `select parked_edit($1, new_topic => 'x')`, eventID(1))
	exec(t, conn, `delete from parked where parked_no = $1::text::bigint`, inFlight)
	if got := text(t, conn, `select coalesce(max(topic), 'gone') from parked`); got != "x" {
		t.Errorf("the edited event is %s", got)
	}
}

func TestParkedEdit_TwoAtOnceBothTakeEffect(t *testing.T) {
	url, conn := newOutbox(t)
	second := connect(t, url)
	park(t, conn, "main", "dead")
	exec(t, conn, `begin; select parked_edit('`+eventID(1)+`', new_topic => 'x')`)
	done := make(chan string, 1)
	go func() {
		done <- text(t, second, `select parked_edit($1, new_key => 'y')::text`, eventID(1))
	}()
	watcher := connect(t, url)
	eventually(t, "the second edit waits for the first", func() bool {
		return text(t, watcher, `select count(*)::text from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`) == "1"
	})
	exec(t, conn, `commit`)
	if n := <-done; n != "1" {
		t.Errorf("the second edit changed %s", n)
	}
	if got := text(t, conn, `select concat(topic, ' ', key) from parked`); got != "x y" {
		t.Errorf("after both: %s", got)
	}
	if before := text(t, conn, `select concat(verb, ' ', detail->'changes'->'key'->>'before') from operations order by op_no desc limit 1`); before != "edit k" {
		t.Errorf("the second operation: %s", before)
	}
}
