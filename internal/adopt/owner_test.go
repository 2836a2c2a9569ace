package adopt

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// another role owns the table, and has made a type whose casts run his code: whoever's rights they run with shows in the
// table seen.
func foreignTable(t *testing.T) (conn *pgx.Conn, role string) {
	t.Helper()
	conn = newDatabase(t, debezium("jsonb"))
	role = "stranger_" + conn.Config().Database
	exec(t, conn, "create role "+role)
	t.Cleanup(func() { clean(t, conn, "drop owned by "+role+" cascade; drop role "+role) })
	exec(t, conn, `grant create on schema public to `+role+`;
		create table seen (who text); grant insert on seen to public;
		alter table outboxevent owner to `+role+`;
		set role `+role+`;
		create type trap as (word text);
		create function spring(trap) returns text language plpgsql as $$ begin insert into public.seen values (current_user); return 'sprung'; end $$;
		create function spring_number(trap) returns bigint language plpgsql as $$ begin insert into public.seen values (current_user); return 1; end $$;
		create cast (trap as text) with function spring(trap) as implicit;
		create cast (trap as bigint) with function spring_number(trap) as implicit;
		reset role`)
	return conn, role
}

// sprung are the roles with whose rights the stranger's code ran.
func sprung(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return text(t, conn, "select string_agg(distinct who, ' ') from seen")
}

const trapRow = `insert into outboxevent (aggregatetype, aggregateid, type, payload) values ('order', row('x')::trap, 'T', '1')`

func TestInstall_RunsNoCodeOfTheTablesOwner(t *testing.T) {
	conn, role := foreignTable(t)
	exec(t, conn, "alter table outboxevent alter aggregateid type trap using row('x')::trap, add position trap")
	if _, err := plan(t.Context(), conn, "outbox", "outboxevent", "", "debezium", "partition=position"); err == nil || !strings.Contains(err.Error(), "only a text field can take it") ||
		!strings.Contains(err.Error(), role) {
		t.Errorf("a column of his type as it is: %v", err)
	}
	install(t, conn, "outboxevent", "", "debezium")
	exec(t, conn, trapRow)
	exec(t, conn, "insert into outboxevent (aggregatetype, aggregateid, type, payload) values ('order', row(null)::trap, 'T', '2')")
	if got := keys(t, conn); got != "(x) ()" || sprung(t, conn) != "" {
		t.Errorf("keys %q, code ran as %q", got, sprung(t, conn))
	}
}

// He gives the column his type when the trigger is there.
func TestInstall_RunsNoCodeThatComesLater(t *testing.T) {
	conn, _ := foreignTable(t)
	install(t, conn, "outboxevent", "", "debezium")
	exec(t, conn, trapRow[:strings.Index(trapRow, "row(")]+"'42', 'T', '1')")
	exec(t, conn, "alter table outboxevent alter aggregateid type bigint using 1")
	exec(t, conn, trapRow[:strings.Index(trapRow, "row(")]+"43, 'T', '2')") // a migration as there are many
	exec(t, conn, "alter table outboxevent alter aggregateid type trap using row('x')::trap")
	_, err := conn.Exec(t.Context(), trapRow)
	refused(t, err, "55000", "outboxevent has got a type that is none of PostgreSQL's own", "relay unadopt")
	if got := keys(t, conn); got != "42 43" || sprung(t, conn) != "" {
		t.Errorf("keys %q, code ran as %q", got, sprung(t, conn))
	}
	if err := adopter(t, conn).Replace(t.Context(), planned(t, conn, "outboxevent", "", "debezium"), found(t, conn, "outboxevent")); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, trapRow)
	if got := keys(t, conn); got != "42 43 (x)" || sprung(t, conn) != "" {
		t.Errorf("keys %q, code ran as %q", got, sprung(t, conn))
	}
}

// A trigger function as it was before it looked at types.
func TestAdopted_NamesATriggerThatDoesNotLook(t *testing.T) {
	conn, _ := foreignTable(t)
	install(t, conn, "outboxevent", "", "debezium")
	if _, faults, err := Adopted(t.Context(), conn, "outbox"); err != nil || len(faults) > 0 {
		t.Errorf("%+v, %v", faults, err)
	}
	p := planned(t, conn, "outboxevent", "", "debezium")
	p.Source.Trusted, p.Function = true, found(t, conn, "outboxevent").function
	exec(t, conn, p.function(0, true)[0])
	if _, faults, err := Adopted(t.Context(), conn, "outbox"); err != nil || len(faults) != 1 || faults[0].Loses || !strings.Contains(faults[0].Cure, "--replace") {
		t.Errorf("%+v, %v", faults, err)
	}
}

// Whoever copies the rows, often a superuser, must not run it either.
func TestBackfill_RunsNoCodeOfTheTablesOwner(t *testing.T) {
	conn, _ := foreignTable(t)
	exec(t, conn, `alter table outboxevent add position bigint generated always as identity;
		insert into outboxevent (aggregatetype, aggregateid, type, payload) select 'order', n, 'T', '1' from generate_series(1, 3) n`)
	p := planned(t, conn, "outboxevent", "", "debezium")
	a := adopter(t, conn)
	if err := a.Begin(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, "alter table outboxevent alter aggregateid type trap using row('x')::trap")
	if _, err := p.Check(t.Context(), a.Conn); err == nil || !strings.Contains(err.Error(), "the type of aggregateid has changed meanwhile") {
		t.Errorf("the look through the table: %v", err)
	}
	no := found(t, conn, "outboxevent").No
	if _, err := a.Backfill(t.Context(), p, no, func(Progress) {}); err == nil || !strings.Contains(err.Error(), "the type of aggregateid has changed meanwhile") {
		t.Errorf("the backfill: %v", err)
	}
	_, err := conn.Exec(t.Context(), trapRow)
	refused(t, err, "55000", "relay unadopt")
	exec(t, conn, "alter table outboxevent alter aggregateid type varchar(255) using 'b'")
	if _, err := a.Backfill(t.Context(), planned(t, conn, "outboxevent", "", "debezium"), no, func(Progress) {}); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, conn); got != "b b b" || sprung(t, conn) != "" {
		t.Errorf("keys %q, code ran as %q", got, sprung(t, conn))
	}
}
