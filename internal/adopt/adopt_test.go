package adopt

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Whatever inserts a row, it gives one event, in the same transaction.
func TestInstall_EachRowThatIsInsertedGivesOneEvent(t *testing.T) {
	conn := newDatabase(t, debezium("text"))
	exec(t, conn, `insert into outboxevent (aggregatetype, aggregateid, type, payload) values ('order', 'before', 'T', '')`)
	install(t, conn, "outboxevent", "", "debezium")
	insert := func(key string) string {
		return `insert into outboxevent (aggregatetype, aggregateid, type, payload) values ('order', '` + key + `', 'Placed', '{ "k": 1 }')`
	}
	exec(t, conn, insert("one"))
	exec(t, conn, insert("a")+`, ('order', 'b', 'T', 'x'), ('order', 'c', 'T', 'x')`)
	exec(t, conn, `insert into outboxevent (aggregatetype, aggregateid, type) select 'order', 'g' || n, 'T' from generate_series(1, 3) n`)
	exec(t, conn, `begin; `+insert("kept")+`; savepoint s; `+insert("undone")+`; rollback to s; savepoint s2; `+insert("released")+`; release s2; commit`)
	exec(t, conn, `begin; `+insert("rolled back")+`; rollback`)
	exec(t, conn, `begin; `+insert("deleted")+`; delete from outboxevent where aggregateid = 'deleted'; commit`)
	exec(t, conn, `with x as (`+insert("cte")+` returning 1) select count(*) from x`)
	if _, err := conn.CopyFrom(t.Context(), pgx.Identifier{"outboxevent"}, []string{"aggregatetype", "aggregateid", "type", "payload"},
		pgx.CopyFromRows([][]any{{"order", "copy1", "T", "x"}, {"order", "copy2", "T", nil}})); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, `insert into outboxevent (id, aggregatetype, aggregateid, type) select id, 'order', 'conflict', 'T' from outboxevent where aggregateid = 'one' on conflict do nothing`)
	exec(t, conn, `insert into outboxevent (id, aggregatetype, aggregateid, type) select id, 'order', 'conflict', 'T' from outboxevent where aggregateid = 'one'
		on conflict (id) do update set type = 'changed'`)
	exec(t, conn, `update outboxevent set aggregateid = 'updated'; delete from outboxevent where type = 'T'; truncate outboxevent`)
	if text(t, conn, `show server_version_num`) >= "150000" {
		exec(t, conn, `merge into outboxevent o using (values ('merged')) v(k) on o.aggregateid = v.k
			when not matched then insert (aggregatetype, aggregateid, type) values ('order', v.k, 'T')`)
	} else {
		exec(t, conn, insert("merged"))
	}
	if got, want := keys(t, conn), "one a b c g1 g2 g3 kept released deleted cte copy1 copy2 merged"; got != want {
		t.Errorf("events\n%s\nwant\n%s", got, want)
	}
	want := `outbox.event.order Placed { "k": 1 }`
	if got := text(t, conn, `select concat_ws(' ', topic, type, convert_from(payload_bytes, 'UTF8')) from outbox.events where key = 'one'`); got != want {
		t.Errorf("the event is %s", got)
	}
	if got := text(t, conn, `select concat(count(distinct xid), ' ', count(*)) from outbox.events where key in ('kept', 'released')`); got != "1 2" {
		t.Errorf("transactions and events: %s", got)
	}
}

func TestInstall_MapsTypesAndTemplates(t *testing.T) {
	conn := newDatabase(t, `create domain body as jsonb; create table m (n bigint generated always as identity, name text, uid varchar(40), part smallint, due timestamptz, ms bigint,
		js json, jb body, tx text, by bytea, h jsonb, hj json, tenant integer)`)
	for _, test := range []struct {
		name, fields, insert, selects, want string
	}{
		{"json as it is", "topic='t',payload=js", `(js) values ('{ "b":1, "a":1e2 }')`, `payload::text`, `{ "b":1, "a":1e2 }`},
		{"jsonb as PostgreSQL writes it", "topic='t',payload=jb", `(jb) values ('{ "b":1, "a":1e2 }')`, `payload::text`, `{"a": 100, "b": 1}`},
		{"text that is no JSON", "topic='t',payload=tx", `(tx) values ('{ "ü')`, `convert_from(payload_bytes, 'UTF8')`, `{ "ü`},
		{"empty is not null", "topic='t',payload=tx", `(tx) values ('')`, `concat(payload_bytes is null, length(payload_bytes))`, `f0`},
		{"null", "topic='t',payload=tx", `(tx) values (null)`, `concat(payload_bytes is null, payload is null)`, `tt`},
		{"bytes", "topic='t',payload=by", `(by) values ('\x00ff')`, `payload_bytes::text`, `\x00ff`},
		{"template", "topic=a.{name}.{part},key={tenant}/{name},payload=tx", `(name, part, tenant) values ('N', 3, 7)`, `topic || ' ' || key`, `a.N.3 7/N`},
		{"constant with a quote and a backslash", `topic='t',key='it''s \n',type=name,payload=tx`, `(name) values ('x')`, `key || type`, `it''s \nx`},
		{"a UUID in text", "topic='t',id=uid,payload=tx", `(uid) values ('0198C0DE-0000-7000-8000-000000000000')`, `id::text`, `0198c0de-0000-7000-8000-000000000000`},
		{"text that is none", "topic='t',id=uid,payload=tx", `(uid) values ('17')`, `id = md5('public.m:17')::uuid`, `true`},
		{"a number", "topic='t',id=n,payload=tx", `(tx) values ('x')`, `id = md5('public.m:' || (select max(n) from m))::uuid`, `true`},
		{"no id", "topic='t',id=uid,payload=tx", `(uid) values (null)`, `id is not null`, `true`},
		{"headers", "topic='t',headers=h,payload=tx", `(h) values ('{"b": "1", "a": {"x": null}}')`, `headers::text`, `{"a": {"x": null}, "b": "1"}`},
		{"no headers", "topic='t',headers=hj,payload=tx", `(hj) values (null)`, `headers is null`, `true`},
		{"JSON's null", "topic='t',headers=hj,payload=tx", `(hj) values ('null')`, `headers is null`, `true`},
		{"headers and more", "topic='t',headers=hj,header.tenant=tenant,header.who={name},header.none=ms,payload=tx", `(hj, tenant, name) values ('{"z": "1", "a": "2"}', 7, 'N')`, `headers::text`,
			`{ "z" : "1", "a" : "2", "tenant" : "7", "who" : "N" }`},
		{"headers of columns alone", "topic='t',header.tenant=tenant,payload=tx", `(tenant) values (7)`, `headers::text`, `{ "tenant" : "7" }`},
		{"partition", "topic='t',partition=part,payload=tx", `(part) values (2)`, `partition::text`, `2`},
		{"no partition", "topic='t',partition=part,payload=tx", `(part) values (null)`, `partition is null`, `true`},
		{"time", "topic='t',deliver_at=due,payload=tx", `(due) values ('2030-01-01 00:00+00')`, `deliver_at = '2030-01-01 00:00+00'`, `true`},
		{"milliseconds", "topic='t',deliver_at=ms,payload=tx", `(ms) values (1893456000123)`, `deliver_at = '2030-01-01 00:00:00.123+00'`, `true`},
	} {
		t.Run(test.name, func(t *testing.T) {
			exec(t, conn, `truncate outbox.events`)
			install(t, conn, "m", "", strings.Split(test.fields, ",")...)
			exec(t, conn, `insert into m `+test.insert)
			if got := text(t, conn, `select (`+test.selects+`)::text from outbox.events`); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			if _, err := adopter(t, conn).Remove(t.Context(), "outbox", found(t, conn, "public.m"), false); err != nil {
				t.Fatal(err)
			}
			exec(t, conn, `insert into m `+test.insert)
			if got := text(t, conn, `select count(*)::text from outbox.events`); got != "1" {
				t.Errorf("%s events after unadopt", got)
			}
		})
	}
	if got := text(t, conn, `select count(*)::text from pg_proc where pronamespace = 'outbox'::regnamespace and proname like 'adopt %'`); got != "0" {
		t.Errorf("%s functions are left", got)
	}
}

// A row that can be no event ends its statement, and the error says where to look.
func TestInstall_RefusesARowWithAWord(t *testing.T) {
	conn := newDatabase(t, debezium("text")+`; alter table outboxevent add h json, add part bigint`)
	install(t, conn, "outboxevent", "", "debezium", "headers=h", "partition=part")
	insert := func(topic, headers string, partition int64) error {
		_, err := conn.Exec(t.Context(), `insert into outboxevent (aggregatetype, aggregateid, type, payload, h, part) values ($1, 'k', 'T', 'secret', $2, $3)`,
			topic, headers, partition)
		return err
	}
	refused(t, insert("no spaces", "{}", 0), "23514", "a row of public.outboxevent cannot become an event: its topic is 'outbox.event.no spaces'",
		"A topic is 1 to 249", "relay unadopt public.outboxevent")
	refused(t, insert(strings.Repeat("x", 250), "{}", 0), "23514", "topic")
	refused(t, insert("order", "[1]", 0), "23514", "its headers is '[1]'", "a JSON object")
	refused(t, insert("order", "{}", -1), "23514", "its partition is '-1'")
	refused(t, insert("order", "{}", 1<<40), "23514", "its partition is")
	if err := insert("order", "{}", 1); err != nil {
		t.Fatal(err)
	}
	if got := text(t, conn, `select concat((select count(*) from outbox.events), (select count(*) from outboxevent))`); got != "11" {
		t.Errorf("events and rows: %s", got)
	}
	exec(t, conn, `alter table outboxevent alter column aggregatetype drop not null`)
	_, err := conn.Exec(t.Context(), `insert into outboxevent (aggregateid, type) values ('k', 'T')`)
	refused(t, err, "23514", "its topic is null")
}

func TestPlan_SaysAllThatDoesNotFit(t *testing.T) {
	conn := newDatabase(t, debezium("xml")+`; create view v as select 1; create temporary table temporary (a int);
		create table p (a int) partition by list (a); create table p1 partition of p for values in (1)`)
	for _, test := range []struct {
		table, order, fields, want string
	}{
		{"outboxevent", "", "debezium", "payload: column payload is xml; it can be json, jsonb, text or bytea"},
		{"outboxevent", "payload", "debezium,payload=type", "column payload is xml, which gives no order"},
		{"outboxevent", "nope", "debezium,payload=type", `has no column "nope" to order by`},
		{"outboxevent", "", "debezium,payload=body", `payload: public.outboxevent has no column "body" (it has id, aggregatetype`},
		{"outboxevent", "", "debezium,payload=x{type}", "one column as it is"},
		{"outboxevent", "", "debezium,topic=x.{nope},payload=type", `no column "nope"`},
		{"outboxevent", "", "debezium,topic=x.{type,payload=type", "a { without its }"},
		{"outboxevent", "", "debezium,headers=type,payload=type", "it can be json or jsonb, with an object in it"},
		{"outboxevent", "", "debezium,headers=nope,payload=type", `public.outboxevent has no column "nope"`},
		{"outboxevent", "", "debezium,partition=type,payload=type", "it can be a whole number"},
		{"outboxevent", "", "debezium,deliver_at=type,payload=type", "it can be timestamp with time zone"},
		{"outboxevent", "", "debezium,header.x=nope,payload=type", `header x: public.outboxevent has no column "nope"`},
		{"outboxevent", "", "topic=type", "say where the payload comes from"},
		{"outboxevent", "", "topic=type,debezium", "it comes first"},
		{"outboxevent", "", "oracle", "neither a layout (debezium, nest_outbox) nor field=column"},
		{"outboxevent", "", "topic=type,vaule=payload", `no field "vaule"`},
		{"outboxevent", "", "debezium,header.id=type", "relay's own"},
		{"nope", "", "debezium", "there is no such table: nope"},
		{"a.b.c.d", "", "debezium", "is no name of a table"},
		{"v", "", "debezium", "is no table"},
		{"temporary", "", "debezium", "is a temporary table"},
		{"p1", "", "debezium", "is a partition: rows that are inserted into p would not be seen"},
		{"outbox.events", "", "debezium", "belongs to the outbox itself"},
	} {
		if _, err := plan(t.Context(), conn, "outbox", test.table, test.order, strings.Split(test.fields, ",")...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %s: %v, want %q", test.table, test.fields, err, test.want)
		}
	}
}
