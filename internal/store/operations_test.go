package store

import (
	"net/url"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/proxy"
)

// The relay looks at the highest op_no only. Would a replay take the next number and be there first, the retry before it
// was never noticed.
func TestReplayer_AsksBehindAnOperationThatIsNotCommitted(t *testing.T) {
	r := settledOutbox(t, 4)
	execute(t, r.c, `insert into outbox.parked (name, seq, state, id, topic, created_at) values ('main', 99, 'dead', gen_random_uuid(), 't', now())`)
	operator, err := plain(t, r.url).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := operator.Exec(t.Context(), `select outbox.parked_retry_where(everything => true)`); err != nil {
		t.Fatal(err)
	}
	topic := "t"
	want := &Replay{Topic: &topic, Since: &time.Time{}, Until: &time.Time{}}
	replayer := NewReplayer(plain(t, r.url), In(schema), "main")
	counted, err := replayer.Count(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan error, 1)
	go func() {
		_, err := replayer.Ask(t.Context(), want, counted, map[string]string{})
		asked <- err
	}()
	for waits := false; !waits; {
		select {
		case err := <-asked:
			t.Fatalf("the replay did not wait (%v)", err)
		case <-time.After(10 * time.Millisecond):
		}
		const sql = `select exists (select from pg_locks where locktype = 'advisory' and classid = 7090211 and not granted)`
		if err := r.c.QueryRow(t.Context(), sql).Scan(&waits); err != nil {
			t.Fatal(err)
		}
	}
	if err := operator.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-asked; err != nil {
		t.Fatal(err)
	}
}

// A proxy may keep a connection whose other half is gone: its answers never come, and TCP has nothing against it.
func TestReader_AtRestGivesUpWhenNoAnswerComes(t *testing.T) {
	t.Parallel()
	direct := database(t)
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	network, err := proxy.StartTCP(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(network.Close)
	u.Host = network.Address()
	s := openSession(t, u.String(), acquire(t, direct))
	if err := network.Hang(); err != nil {
		t.Fatal(err)
	}
	still := make(chan error, 1)
	go func() {
		_, err := s.reader.Still(t.Context())
		still <- err
	}()
	select {
	case err := <-still:
		if err == nil {
			t.Error("an answer came through a network that hangs")
		}
	case <-time.After(answerTimeout + 10*time.Second):
		network.Close() // or the reader waits for ever
		t.Error("the reader waits for ever")
		<-still
	}
}
