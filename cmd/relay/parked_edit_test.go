package main

import (
	"os"
	"strings"
	"testing"
)

const editedRow = `select concat_ws('|', state, topic, coalesce(key, 'null'), coalesce(headers::text, 'null'), coalesce(payload::text, 'null'),
	coalesce(payload_bytes::text, 'null'), coalesce(partition::text, 'null')) from outbox.parked where name = 'main'`

func TestParkedEdit_EveryFlag(t *testing.T) {
	jsonFile, bytesFile := writeFile(t, "p.json", "{ \"n\": 3 }\n"), writeFile(t, "p.bin", "\x00\n")
	cases := []struct {
		args  []string
		stdin string
		want  string
	}{
		{args: []string{"--topic", "x"}, want: `held|x|42|{"a": "b", "c": "d"}|{"n": 1}|null|7`},
		{args: []string{"--key", ""}, want: `held|orders||{"a": "b", "c": "d"}|{"n": 1}|null|7`},
		{args: []string{"--no-key"}, want: `held|orders|null|{"a": "b", "c": "d"}|{"n": 1}|null|7`},
		{args: []string{"--header", "c=x=<y>", "--header", "e="}, want: `held|orders|42|{"a": "b", "c": "x=\u003cy\u003e", "e": ""}|{"n": 1}|null|7`},
		{args: []string{"--no-headers"}, want: `held|orders|42|null|{"n": 1}|null|7`},
		{args: []string{"--no-headers", "--header", "e=f"}, want: `held|orders|42|{"e": "f"}|{"n": 1}|null|7`},
		{args: []string{"--payload", `{"n":  2}`}, want: `held|orders|42|{"a": "b", "c": "d"}|{"n":  2}|null|7`},
		{args: []string{"--payload", "-"}, stdin: "[1]\n", want: `held|orders|42|{"a": "b", "c": "d"}|[1]|null|7`},
		{args: []string{"--payload-file", jsonFile}, want: `held|orders|42|{"a": "b", "c": "d"}|{ "n": 3 }|null|7`},
		{args: []string{"--payload-file", bytesFile, "--binary"}, want: `held|orders|42|{"a": "b", "c": "d"}|null|\x000a|7`},
		{args: []string{"--payload", "", "--binary"}, want: `held|orders|42|{"a": "b", "c": "d"}|null|\x|7`},
		{args: []string{"--tombstone"}, want: `held|orders|42|{"a": "b", "c": "d"}|null|null|7`},
		{args: []string{"--partition", "0"}, want: `held|orders|42|{"a": "b", "c": "d"}|{"n": 1}|null|0`},
		{args: []string{"--no-partition"}, want: `held|orders|42|{"a": "b", "c": "d"}|{"n": 1}|null|null`},
	}
	env, conn := database(t)
	for _, c := range cases {
		execute(t, conn, `truncate outbox.parked, outbox.operations`)
		park(t, conn, 1, "dead", "orders", "42", "bad_partition: 7")
		execute(t, conn, `update outbox.parked set partition = 7`)
		before := query(t, conn, editedRow)
		dry := runWith(t, env, c.stdin, append([]string{"parked", "edit", parkedID(1), "--dry-run"}, c.args...)...).wants(t, exitDone)
		if got := query(t, conn, editedRow); got != before || operations(t, conn) != "none" {
			t.Errorf("%v: a dry run changed %s to %s, %s", c.args, before, got, operations(t, conn))
		}
		out := runWith(t, env, c.stdin, append([]string{"parked", "edit", parkedID(1)}, c.args...)...).wants(t, exitDone)
		if got := query(t, conn, editedRow); got != c.want {
			t.Errorf("%v:\n%s, want\n%s", c.args, got, c.want)
		}
		if strings.TrimPrefix(dry, "would edit") != strings.TrimPrefix(out, "edited") || !strings.Contains(out, "state      dead → held\n") {
			t.Errorf("%v: the dry run says\n%s, the edit\n%s", c.args, dry, out)
		}
		if got := operations(t, conn); got != "edit 1 postgres" {
			t.Errorf("%v: operations: %s", c.args, got)
		}
	}
}

func TestParkedEdit_ShowsBeforeAndAfter(t *testing.T) {
	env, conn := database(t)
	parkSome(t, conn)
	args := []string{"parked", "edit", parkedID(1), "--topic", "orders-v2", "--no-key", "--header", "a=z", "--payload", `{"n": 2}`}
	out := runRelay(t, env, append(args, "--dry-run")...).wants(t, exitDone)
	for _, want := range []string{
		"would edit " + parkedID(1) + ", seq 1\n", "topic      orders → orders-v2\n", "key        42 → null\n", "state      dead → held\n",
		"headers    - a=b c=d\n           + a=z c=d\n", "payload    - JSON, 8 B {\"n\": 1}\n           + JSON, 8 B {\"n\": 2}\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Contains(out, "partition") {
		t.Errorf("what stays is shown:\n%s", out)
	}
	type side struct {
		State, Topic string
		Key          *string
		Payload      string
	}
	got := decode[struct {
		Outbox        string
		DryRun        bool `json:"dry_run"`
		Before, After side
	}](t, runRelay(t, env, append(args, "--json")...).wants(t, exitDone))
	if got.DryRun || got.Before.State != "dead" || got.After.State != "held" || got.After.Topic != "orders-v2" || got.After.Key != nil || got.After.Payload != `{"n": 2}` {
		t.Errorf("%+v", got)
	}
}

func TestParkedEdit_Refuses(t *testing.T) {
	env, conn := database(t)
	parkSome(t, conn)
	big := writeFile(t, "big", "")
	if err := os.Truncate(big, maxPayload+1); err != nil {
		t.Fatal(err)
	}
	id := parkedID(1)
	cases := []struct {
		args []string
		code int
		want string
	}{
		{[]string{id}, exitUsage, "say what to change"},
		{[]string{id, "--seq", "1"}, exitUsage, "say what to change"},
		{[]string{id, "--topic", "a b"}, exitUsage, "'a b' is no topic name"},
		{[]string{id, "--topic", ""}, exitUsage, "'' is no topic name"},
		{[]string{id, "--partition", "-1"}, exitUsage, "counted from 0"},
		{[]string{id, "--key", "a", "--no-key"}, exitUsage, "exclude each other"},
		{[]string{id, "--partition", "1", "--no-partition"}, exitUsage, "exclude each other"},
		{[]string{id, "--payload", "1", "--tombstone"}, exitUsage, "exclude each other"},
		{[]string{id, "--payload", "1", "--payload-file", big}, exitUsage, "exclude each other"},
		{[]string{id, "--payload", "hello"}, exitUsage, "the payload is not JSON"},
		{[]string{id, "--payload", ""}, exitUsage, "the payload is not JSON"},
		{[]string{id, "--payload", "\"\xff\""}, exitUsage, "the payload is not JSON"},
		{[]string{id, "--binary"}, exitUsage, "--binary needs"},
		{[]string{id, "--payload-file", "/nowhere/at/all"}, exitUsage, "no such file"},
		{[]string{id, "--payload-file", big}, exitUsage, "is larger than 64.0 MiB"},
		{[]string{id, "--header", "a"}, exitUsage, "--header wants NAME=VALUE"},
		{[]string{id, "--header", "=a"}, exitUsage, "--header wants NAME=VALUE"},
		{[]string{id, "--header", "a=\xff"}, exitUsage, "--header wants NAME=VALUE"},
		{[]string{parkedID(5), "--topic", "x"}, exitFailed, "is parked"}, // a replay
		{[]string{parkedID(9), "--topic", "x"}, exitFailed, `in outbox "main"`},
	}
	before := query(t, conn, `select string_agg(p::text, '' order by parked_no) from outbox.parked p`)
	for _, c := range cases {
		if r := runRelay(t, env, append([]string{"parked", "edit"}, c.args...)...); r.code != c.code || !strings.Contains(r.errors, c.want) || r.out != "" {
			t.Errorf("%v: %+v, want %q", c.args, r, c.want)
		}
	}
	if after := query(t, conn, `select string_agg(p::text, '' order by parked_no) from outbox.parked p`); after != before || operations(t, conn) != "none" {
		t.Errorf("%s, operations %s", after, operations(t, conn))
	}
}

// Applications may give one id to several events.
func TestParkedEdit_OfSeveralWithOneID(t *testing.T) {
	env, conn := database(t)
	park(t, conn, 1, "dead", "orders", "42", "")
	park(t, conn, 2, "held", "payments", "42", "")
	execute(t, conn, `update outbox.parked set id = $1`, parkedID(1))
	r := runRelay(t, env, "parked", "edit", parkedID(1), "--no-key")
	if r.code != exitUsage || !strings.Contains(r.errors, "say --seq 1 (dead for orders) or --seq 2 (held for payments)") {
		t.Errorf("%+v", r)
	}
	runRelay(t, env, "parked", "edit", parkedID(1), "--no-key", "--seq", "2").wants(t, exitDone)
	if got := query(t, conn, `select string_agg(coalesce(key, 'null'), ' ' order by seq) from outbox.parked`); got != "42 null" {
		t.Error(got)
	}
}

func TestHeaders_KeepTheirOrderAndWhatIsNoString(t *testing.T) {
	headers, err := parseHeaders([]byte(`{"z": "1", "a": 2, "z": "3", "ü\"": null}`))
	if err != nil {
		t.Fatal(err)
	}
	if headers, err = setHeaders(headers, []string{"a=b", "new==", "z=9"}); err != nil {
		t.Fatal(err)
	}
	if text, err := formatHeaders(headers); err != nil || text != `{"z": "9", "a": "b", "z": "9", "ü\"": null, "new": "="}` {
		t.Errorf("%s, %v", text, err)
	}
	for _, wrong := range []string{``, `[]`, `"a"`, `{"a"}`, `{"a": }`} {
		if _, err := parseHeaders([]byte(wrong)); err == nil {
			t.Errorf("%s was taken", wrong)
		}
	}
}
