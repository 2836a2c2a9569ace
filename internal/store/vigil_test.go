package store

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/proxy"
)

// soon is for tests in which nothing may come for a while.
const soon = 100 * time.Millisecond

// behindProxy is a session whose connections a test can let hang. The vigil asks past the proxy, as in life it does over
// a connection that is made anew.
func behindProxy(t *testing.T) (s *testSession, network *proxy.TCP, direct string) {
	t.Helper()
	direct = database(t)
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	if network, err = proxy.StartTCP(u.Host); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(network.Close)
	u.Host = network.Address()
	s = openSession(t, u.String(), acquire(t, direct))
	s.reader.vigil.ask, s.reader.vigil.silence = fixed(direct), soon
	return s, network, direct
}

// readTo reads a page, in which row is called for each row, and gives the error.
func readTo(ctx context.Context, s *testSession, row func(*Row) error) <-chan error {
	read := make(chan error, 1)
	go func() {
		_, err := s.reader.Read(ctx, s.position.Cursor, s.position.Anchors, 1000, row)
		read <- err
	}()
	return read
}

func wantSilent(t *testing.T, network *proxy.TCP, read <-chan error) {
	t.Helper()
	select {
	case err := <-read:
		if !errors.Is(err, errSilent) || errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		network.Close() // or the reader waits for ever
		t.Errorf("the reader waits for ever; now %v", <-read)
	}
}

// A proxy keeps a connection whose other half is gone, and delivery stood still without a word, while the lease was renewed
// over another one.
func TestReader_GivesUpAPageThatNeverComes(t *testing.T) {
	t.Parallel()
	s, network, _ := behindProxy(t)
	if err := network.Hang(); err != nil {
		t.Fatal(err)
	}
	wantSilent(t, network, readTo(t.Context(), s, func(*Row) error { return nil }))
}

func TestReader_GivesUpAPageOfWhichNothingMoreComes(t *testing.T) {
	t.Parallel()
	s, network, direct := behindProxy(t)
	execute(t, plain(t, direct), "insert into outbox.events (topic, payload) select 't', to_json(repeat('x', 200000)) from generate_series(1, 200)")
	hung := false
	wantSilent(t, network, readTo(t.Context(), s, func(*Row) error {
		if hung {
			return nil
		}
		hung = true
		return network.Hang()
	}))
}

// A scan takes long, or rows wait for Kafka: nothing comes, and nothing is wrong.
func TestReader_WaitsAsLongAsTheServerIsAtWork(t *testing.T) {
	t.Parallel()
	s, _, direct := behindProxy(t)
	c := plain(t, direct)
	execute(t, c, "insert into outbox.events (topic, payload) select 't', to_json(repeat('x', 200000)) from generate_series(1, 200)")
	const long = 15 * soon
	execute(t, c, "begin; lock table outbox.events in access exclusive mode")
	rows := 0
	read := readTo(t.Context(), s, func(*Row) error {
		if rows++; rows%100 == 1 {
			<-time.After(long)
		}
		return nil
	})
	select {
	case err := <-read:
		t.Fatalf("it ended while the server waited for a lock: %v", err)
	case <-time.After(long):
	}
	execute(t, c, "rollback")
	if err := <-read; err != nil || rows != 200 {
		t.Errorf("%d rows, %v", rows, err)
	}
}
