package franz

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

const (
	frozenBrokers = "RELAY_TEST_FROZEN_BROKERS"
	frozenTrust   = 1500 * time.Millisecond
	marker        = "the successor's"
)

// TestFrozenChild is not a test of its own: it is the process that the next one freezes.
func TestFrozenChild(t *testing.T) {
	brokers := os.Getenv(frozenBrokers)
	if brokers == "" {
		t.Skip("runs in a process of its own")
	}
	p, c := openForTest(t, contract.Config(t, []string{brokers}))
	send := func(ctx context.Context, n int) error {
		return p.Send(ctx, &publisher.Record{Topic: "t", Partition: 0, Value: fmt.Append(nil, n)}, nil)
	}
	if err := send(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	until(t, "the first is acked", func() bool { return c.acked.Load() == 1 })
	p.Trust(time.Now().Add(frozenTrust))
	fmt.Println("trusted")
	ended, end := context.WithCancel(t.Context())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end()
	}()
	pause := time.NewTicker(time.Millisecond / 4)
	defer pause.Stop()
	for n := 1; n < 15_000 && ended.Err() == nil; n++ {
		if send(ended, n) != nil {
			break
		}
		<-pause.C
	}
	<-ended.Done()
}

// A process is frozen in mid-stream, thawed when its trust is over and a successor has written, and then left to do what
// it can. The broker answers slowly, so that it holds a lot.
func TestGate_AFrozenProcessWritesNothingAfterItsSuccessor(t *testing.T) {
	fake := contract.StartFake(t)
	site := fake.Site()
	createTopic(t, site.Brokers, "t")
	slowly(fake, 20*time.Millisecond)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFrozenChild$", "-test.timeout=60s")
	child.Env = append(os.Environ(), frozenBrokers+"="+site.Brokers[0])
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for line := ""; line != "trusted\n"; {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("the process that is to be frozen: %v", err)
		}
	}
	trusted := time.Now()
	stage := kadmin(t, site.Brokers)
	stored := func() int64 {
		ends, err := stage.ListEndOffsets(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		end, _ := ends.Lookup("t", 0)
		return end.Offset
	}
	until(t, "it is in mid-stream", func() bool { return stored() > 100 })
	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// What lies in sockets arrives now; a successor comes when the trust is over.
	until(t, "the trust is over", func() bool { return time.Since(trusted) > frozenTrust })
	successor, c := openForTest(t, contract.Config(t, site.Brokers))
	if err := successor.Send(t.Context(), &publisher.Record{Topic: "t", Partition: 0, Value: []byte(marker)}, nil); err != nil {
		t.Fatal(err)
	}
	until(t, "the successor's record is stored", func() bool { return c.acked.Load() == 1 })
	if err := child.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	thawed := time.Now()
	until(t, "it had its time", func() bool { return time.Since(thawed) > 700*time.Millisecond })
	_ = in.Close()
	_, _ = io.Copy(io.Discard, lines)
	if err := child.Wait(); err != nil {
		t.Errorf("the frozen process: %v", err)
	}
	all := values(t, site.Brokers, "t")
	for i, v := range all {
		if v == marker {
			if late := len(all) - i - 1; late > 0 {
				t.Errorf("%d records were written after the successor's, the first is %s", late, all[i+1])
			}
			t.Logf("%d records before the successor's", i)
			return
		}
	}
	t.Error("the successor's record is not there: this test proves nothing")
}
