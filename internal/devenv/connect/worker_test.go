package connect

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/internal/devenv/postgres"
)

const brokersVariable = "CONNECT_TEST_BROKERS"

// TestMain lets this binary play a program that is killed while its worker runs.
func TestMain(m *testing.M) {
	if brokers := os.Getenv(brokersVariable); brokers != "" {
		w, err := Start(context.Background(), Options{Brokers: strings.Split(brokers, ","), Group: "killed"})
		if err != nil {
			panic(err)
		}
		fmt.Printf("%d %s\n", w.PID(), w.folder.Path)
		select {}
	}
	goleak.VerifyTestMain(m)
}

func TestWorker_DebeziumBringsRowsToKafkaAndKeepsItsPlace(t *testing.T) {
	cluster := kafka.ForTest(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	pg, err := postgres.Start(ctx, postgres.Options{Settings: map[string]string{"wal_level": "logical", "fsync": "off"}})
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Stop()
	db, err := pgx.Connect(ctx, pg.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.Background())
	if _, err := db.Exec(ctx, Table); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Brokers()...), kgo.ConsumeTopics("orders"), kgo.DisableFetchSessions())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 1, 1, nil, "orders"); err != nil {
		t.Fatal(err)
	}
	w, err := Start(ctx, Options{Brokers: cluster.Brokers()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	config, err := OutboxConnector(pg.URL("postgres"), "one", map[string]string{"extended.headers.enabled": "false"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Create(ctx, "one", config); err != nil {
		t.Fatal(err)
	}
	if err := SlotActive(ctx, db, "one"); err != nil {
		t.Fatal(err)
	}
	insert := func(value string) {
		t.Helper()
		_, err := db.Exec(ctx, "insert into outboxevent (aggregatetype, aggregateid, type, payload) values ('orders', 'k', 'Placed', $1)", value)
		if err != nil {
			t.Fatal(err)
		}
	}
	insert(`{"n": 1}`)
	arrives(ctx, t, client, `{"n": 1}`)
	if err := w.Halt(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	insert(`{"n": 2}`)
	if err := w.Resume(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	arrives(ctx, t, client, `{"n": 2}`)
	config["slot.name"] = "No Such Name"
	if err := w.Create(ctx, "one", config); err == nil || !strings.Contains(err.Error(), "slot") {
		t.Errorf("a slot's name that PostgreSQL refuses: %v, want Debezium's words", err)
	}
	if err := w.Delete(ctx, "one"); err != nil {
		t.Error(err)
	}
}

// arrives wants the next record to be this one, as the relay would write it.
func arrives(ctx context.Context, t *testing.T, client *kgo.Client, value string) {
	t.Helper()
	fetches := client.PollRecords(ctx, 1)
	if err := fetches.Err(); err != nil {
		t.Fatalf("wait for %s: %v", value, err)
	}
	r := fetches.Records()[0]
	headers := map[string]string{}
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	if string(r.Value) != value || string(r.Key) != "k" || headers["type"] != "Placed" || len(headers) != 3 {
		t.Errorf("key %q, value %s, headers %v; want %s", r.Key, r.Value, headers, value)
	}
}

func TestStart_NothingSurvivesAKilledProgram(t *testing.T) {
	cluster := kafka.ForTest(t)
	program := exec.Command(os.Args[0])
	program.Env = append(os.Environ(), brokersVariable+"="+strings.Join(cluster.Brokers(), ","))
	program.Stderr = os.Stderr
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = program.Process.Kill()
	_ = program.Wait()
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	var folder string
	if _, err := fmt.Sscan(line, &pid, &folder); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		dead := syscall.Kill(pid, 0) != nil || strings.Contains(string(stat), ") Z ")
		_, err := os.Lstat(folder)
		if os.IsNotExist(err) && dead {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 15 s: folder %v, process dead %v", err, dead)
		}
	}
}
