package relay

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/internal/devenv/proxy"
)

// TestTorn_ALateEndTxnEndsNothing tells the story that publisher/librdkafka/transaction.go fears, on a real Kafka:
//
//	transaction A: its EndTxn is carried out, the answer is lost, the client asks again and is told yes
//	transaction B: events are acked, the progress record is on its way
//	the first EndTxn comes once more, as a late copy would
//
// Had A's producer begun B, the copy would commit B's events without their progress record, and they would be sent
// again.
func TestTorn_ALateEndTxnEndsNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Kafka of its own")
	}
	t.Parallel()
	fleet := proxy.NewFleet()
	t.Cleanup(fleet.Close)
	cluster, err := kafka.Start(t.Context(), kafka.Options{Advertise: fleet.Advertise})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	wire := fleet.Node(0).Wire
	r := newRigOn(t, []string{wire.Address()})
	r.showOnFailure()
	r.createTopic("orders", 1, nil)
	r.createTopic(progressTopic, 1, nil)
	r.write50(1)
	w := r.start(r.exactly())
	r.settled(30 * time.Second)

	copied := wire.On(proxy.Rule{Side: proxy.Request, API: proxy.EndTxn, Do: proxy.Copy})
	lost := wire.On(proxy.Rule{Side: proxy.Answer, API: proxy.EndTxn, Do: proxy.Cut})
	r.write50(2) // transaction A
	r.settled(30 * time.Second)
	if copied.Caught() != 1 || lost.Caught() != 1 {
		t.Fatalf("%d requests were copied and %d answers cut", copied.Caught(), lost.Caught())
	}
	progress := wire.On(proxy.Rule{Side: proxy.Request, API: proxy.Produce, Do: proxy.Hold, If: func(f proxy.Frame) bool {
		return bytes.Contains(f.Bytes, []byte(`"batch":`)) && !bytes.Contains(f.Bytes, []byte(`"begin":true`))
	}})
	r.write50(3) // transaction B
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := progress.Wait(ctx); err != nil {
		t.Fatalf("the progress record of the next transaction: %v", err)
	}
	answer, err := copied.Replay(ctx)
	t.Logf("the late copy is answered % x, %v", answer, err)
	progress.Release()
	r.settled(60 * time.Second)
	checkOrder(t, r.committed("orders"), 150, 0)
	if ends := w.State().Report().SessionEnds; ends["recycled"] == 0 {
		t.Errorf("the producer of a doubtful commit was not replaced: %v", ends)
	}
}
