package adopt

import (
	"errors"
	"strings"
	"testing"
)

var messageFields = []string{"topic='t'", "key=k", "payload=body"}

const messages = `create table m (n bigint generated always as identity primary key, k text, body text)`

// A table is renamed and another one takes its name, as migrations do: each keeps its own adoption.
func TestAdopt_TablesWhoseNameMoves(t *testing.T) {
	conn := newDatabase(t, messages)
	install(t, conn, "m", "", messageFields...)
	exec(t, conn, `alter table m rename to m_old; create table m (like m_old including all)`)
	if found(t, conn, "m") != nil {
		t.Fatal("the new table counts as adopted")
	}
	// With a backfill, whose events wait: those of the other table must not.
	exec(t, conn, `insert into m (k) values ('old 1')`)
	p := planned(t, conn, "m", "", messageFields...)
	a := adopter(t, conn)
	if err := a.Begin(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, `insert into m_old (k) values ('theirs'); insert into m (k) values ('new')`)
	if got := keys(t, conn); got != "theirs" {
		t.Errorf("before the backfill: %s", got)
	}
	if _, err := a.Backfill(t.Context(), p, found(t, conn, "m").No, func(Progress) {}); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, conn); got != "theirs old 1 new" {
		t.Errorf("after the backfill: %s", got)
	}
	if tables, faults, err := Adopted(t.Context(), conn, "outbox"); strings.Join(tables, " ") != "public.m public.m_old" || len(faults) > 0 || err != nil {
		t.Errorf("adopted are %q, %+v, %v", tables, faults, err)
	}
	theirs := found(t, conn, "m_old")
	if theirs.Table != "public.m_old" {
		t.Errorf("it is called %s", theirs.Table)
	}
	if _, err := a.Remove(t.Context(), "outbox", theirs, false); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, `insert into m_old (k) values ('nobody'); insert into m (k) values ('newer')`)
	if got := keys(t, conn); got != "theirs old 1 new newer" {
		t.Errorf("after the other was given up: %s", got)
	}
}

// What is on record of a table that is gone is found by its name, also when that is another table's by now.
func TestFindFormer_ATableThatIsGone(t *testing.T) {
	conn := newDatabase(t, messages)
	install(t, conn, "m", "", messageFields...)
	if former(t, conn, "public.m") != nil {
		t.Error("it is there")
	}
	exec(t, conn, `alter table m rename to m_old`)
	if former(t, conn, "public.m") == nil {
		t.Error("it has another name, and nothing has its own")
	}
	exec(t, conn, messages)
	if former(t, conn, "public.m") != nil {
		t.Error("it has another name, and another has its own")
	}
	install(t, conn, "m", "", messageFields...)
	exec(t, conn, `drop table m_old`)
	gone := former(t, conn, "public.m")
	if gone == nil {
		t.Fatal("it is gone")
	}
	if _, err := adopter(t, conn).Remove(t.Context(), "outbox", gone, false); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, `insert into m (k) values ('1')`)
	if got := keys(t, conn); got != "1" || former(t, conn, "public.m") != nil {
		t.Errorf("the table that has the name gives %q", got)
	}
}

// While one person waits for the lock, another ends the adoption and begins one with a backfill.
func TestAdopter_KnowsAnAdoptionThatHasEnded(t *testing.T) {
	conn := newDatabase(t, messages+`; insert into m (k) values ('old')`)
	p := install(t, conn, "m", "", messageFields...)
	old := found(t, conn, "m")
	a := adopter(t, conn)
	if _, err := a.Remove(t.Context(), "outbox", old, false); err != nil {
		t.Fatal(err)
	}
	again := planned(t, conn, "m", "", messageFields...)
	if err := a.Begin(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if err := a.Replace(t.Context(), p, old); !errors.Is(err, errEnded) {
		t.Errorf("another map: %v", err)
	}
	if err := a.Refresh(t.Context(), p, old); !errors.Is(err, errEnded) {
		t.Errorf("another function: %v", err)
	}
	if _, err := a.Remove(t.Context(), "outbox", old, true); !errors.Is(err, errEnded) {
		t.Errorf("the end: %v", err)
	}
	exec(t, conn, `drop trigger relay_adopt on m`)
	if _, err := a.Repair(t.Context(), p, old); !errors.Is(err, errEnded) {
		t.Errorf("the triggers: %v", err)
	}
	now := found(t, conn, "m")
	if _, err := a.Repair(t.Context(), again, now); err != nil {
		t.Fatal(err)
	}
	if err := a.Replace(t.Context(), again, now); !errors.Is(err, ErrUnfinished) {
		t.Errorf("another map within the backfill: %v", err)
	}
	exec(t, conn, `insert into m (k) values ('new')`)
	if _, err := a.Backfill(t.Context(), again, now.No, func(Progress) {}); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, conn); got != "old new" {
		t.Errorf("events %s", got)
	}
}

// Two deployments begin at one moment.
func TestInstall_TwiceAtOnce(t *testing.T) {
	conn := newDatabase(t, messages)
	second := planned(t, conn, "m", "", messageFields...)
	install(t, conn, "m", "", messageFields...)
	if err := adopter(t, conn).Install(t.Context(), second); err == nil || !strings.Contains(err.Error(), "somebody else has just adopted it") {
		t.Errorf("%v", err)
	}
}

// A relay of another version, or a column of another type, makes another function of the same map.
func TestRefresh_LetsABackfillGoOn(t *testing.T) {
	conn := newDatabase(t, messages+`; insert into m (k) values ('old')`)
	p := planned(t, conn, "m", "", messageFields...)
	a := adopter(t, conn)
	if err := a.Begin(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, `insert into m (k) values ('new'); alter table m alter body type json using body::json; alter table m rename to messages`)
	p = planned(t, conn, "messages", "", messageFields...)
	old := found(t, conn, "messages")
	lines, function, err := old.Differences(t.Context(), conn, p)
	if err != nil || len(lines) > 0 || function == "" {
		t.Fatalf("%q, %q, %v", lines, function, err)
	}
	if err := a.Refresh(t.Context(), p, old); err != nil {
		t.Fatal(err)
	}
	if _, function, err = old.Differences(t.Context(), conn, p); err != nil || function != "" {
		t.Errorf("%q, %v", function, err)
	}
	exec(t, conn, `insert into messages (k, body) values ('newer', '1')`)
	if _, err := a.Backfill(t.Context(), p, old.No, func(Progress) {}); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, conn); got != "old new newer" {
		t.Errorf("events %s", got)
	}
	if err := a.Refresh(t.Context(), p, old); err != nil {
		t.Errorf("of a backfill that is over: %v", err)
	}
}

// Another key does not tell which rows have an event that waits.
func TestDifferences_SeeAnotherKey(t *testing.T) {
	conn := newDatabase(t, messages)
	p := planned(t, conn, "m", "", messageFields...)
	if err := adopter(t, conn).Begin(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, `update m set k = n; alter table m alter k set not null, drop constraint m_pkey, add primary key (k)`)
	p = planned(t, conn, "m", "n", messageFields...)
	lines, _, err := found(t, conn, "m").Differences(t.Context(), conn, p)
	if err != nil || len(lines) != 1 || !strings.HasPrefix(lines[0], "key:") {
		t.Errorf("%q, %v", lines, err)
	}
}
