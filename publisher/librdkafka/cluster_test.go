//go:build cgo

package librdkafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

func ping(t *testing.T, cfg publisher.Config, within time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return Ping(ctx, cfg)
}

func TestPing_TellsAwayFromRefused(t *testing.T) {
	fake := contract.StartFake(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "relay", "right"),
		kfake.User("PLAIN", "plain", "right"))
	cfg := contract.Config(t, fake.ListenAddrs())
	for _, c := range []struct {
		mechanism, user, password string
		class                     string
	}{
		{"SCRAM-SHA-512", "relay", "right", ""},
		{"PLAIN", "plain", "right", ""},
		{"PLAIN", "plain", "wr0ng", publisher.ClassAuthentication},
	} {
		cfg.SASL = publisher.SASL{Mechanism: c.mechanism, Username: c.user, Password: c.password}
		err := ping(t, cfg, 5*time.Second)
		// kfake cuts the connection of a wrong password without a word, where Kafka says why; see the real one.
		if c.class == "" && err != nil || c.class != "" && err == nil {
			t.Errorf("%s, %s: %v", c.mechanism, c.password, err)
		}
		if err != nil && strings.Contains(err.Error(), c.password) {
			t.Errorf("the password is in the error: %v", err)
		}
	}
	begin := time.Now()
	err := ping(t, contract.Config(t, []string{"127.0.0.1:1"}), 700*time.Millisecond)
	if publisher.Class(err) != publisher.ClassTransport || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("where nobody listens: %s", publisher.Reason(err))
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestPing_TrustsOnlyTheGivenAuthority(t *testing.T) {
	certificate, file := selfSigned(t)
	fake := contract.StartFake(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate}}))
	cfg := contract.Config(t, fake.ListenAddrs())
	cfg.TLS = publisher.TLS{Enabled: true, CAFile: file}
	if err := ping(t, cfg, 5*time.Second); err != nil {
		t.Errorf("with its authority: %v", err)
	}
	cfg.TLS.CAFile = ""
	if err := ping(t, cfg, 5*time.Second); publisher.Class(err) != publisher.ClassAuthentication {
		t.Errorf("with the system's authorities: %s", publisher.Reason(err))
	}
}

func selfSigned(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// The library fetches tokens by itself. The server here refuses: what counts is that it is asked, and that the
// secret is not told on.
func TestPing_FetchesOAuthTokens(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, secret, ok := r.BasicAuth(); ok && user == "client" && secret == "s3cret" {
			asked.Add(1)
		}
		http.Error(w, `{"error":"no, s3cret is wrong"}`, http.StatusUnauthorized)
	}))
	defer server.Close()
	cfg := contract.Config(t, contract.StartFake(t, kfake.EnableSASL()).ListenAddrs())
	cfg.SASL = publisher.SASL{Mechanism: "OAUTHBEARER", ClientID: "client", ClientSecret: "s3cret", TokenURL: server.URL}
	err := ping(t, cfg, 3*time.Second)
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("without a token: %v", err)
	}
	if asked.Load() == 0 {
		t.Errorf("the token server was not asked: %v", err)
	}
}

func TestAdmin_OnApacheKafka(t *testing.T) { testAdmin(t, kafka.ForTest(t).Brokers()) }
func TestAdmin_OnAFakeBroker(t *testing.T) { testAdmin(t, contract.StartFake(t).ListenAddrs()) }

func testAdmin(t *testing.T, brokers []string) {
	admin, err := OpenAdmin(contract.Config(t, brokers))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	about, err := admin.Cluster(t.Context())
	if err != nil || about.ID == "" || about.Brokers != 1 || about.Controller < 0 {
		t.Fatalf("cluster: %+v, %v", about, err)
	}
	name := "admin-" + strings.ToLower(rand.Text())
	specs := []publisher.TopicSpec{
		{Name: name, Partitions: 3, ReplicationFactor: 1, Config: map[string]string{
			"cleanup.policy": "compact", "max.message.bytes": "5000", "min.insync.replicas": "1"}},
		{Name: name + "-default"},
	}
	created, err := admin.CreateTopics(t.Context(), specs)
	if err != nil || len(created) != 2 {
		t.Fatalf("create: %v, %v", created, err)
	}
	if created, err = admin.CreateTopics(t.Context(), specs); err != nil || len(created) != 0 {
		t.Fatalf("create again: %v, %v", created, err)
	}
	if _, err = admin.CreateTopics(t.Context(), []publisher.TopicSpec{{Name: name + "-bad", Partitions: 1, ReplicationFactor: 9}}); err == nil {
		t.Error("nine replicas on one broker were promised")
	}
	found, err := admin.Describe(t.Context(), []string{"missing-" + name, name, "not legal"})
	if err != nil || len(found) != 3 {
		t.Fatalf("describe: %+v, %v", found, err)
	}
	if publisher.Class(found[0].Err) != publisher.ClassNoTopic || publisher.Class(found[2].Err) != publisher.ClassInvalidTopic {
		t.Errorf("%+v", found)
	}
	want := publisher.TopicDescription{
		Name: name, Partitions: 3, ReplicationFactor: 1, InSyncReplicas: 1, MinInSyncReplicas: 1,
		MaxMessageBytes: 5000, CleanupPolicy: "compact", ConfigKnown: true, Rights: found[1].Rights,
	}
	if missing := found[1].Lacks(publisher.OperationRead, publisher.OperationWrite, publisher.OperationDescribe); missing != nil {
		t.Errorf("without access rules, %v is missing", missing)
	}
	if found[1] != want {
		t.Errorf("%+v, want %+v", found[1], want)
	}
}

func TestTail_OnApacheKafka(t *testing.T) { testTail(t, kafka.ForTest(t).Brokers()) }
func TestTail_OnAFakeBroker(t *testing.T) { testTail(t, contract.StartFake(t).ListenAddrs()) }

func testTail(t *testing.T, brokers []string) {
	cfg := contract.Config(t, brokers)
	name := "tail-" + strings.ToLower(rand.Text())
	admin, err := OpenAdmin(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.CreateTopics(t.Context(), []publisher.TopicSpec{{Name: name, Partitions: 2, ReplicationFactor: 1}}); err != nil {
		t.Fatal(err)
	}
	p, c := openForTest(t, cfg)
	send := func(value string) {
		t.Helper()
		if err := p.Send(t.Context(), &publisher.Record{Topic: name, Partition: 1, Key: []byte{}, Value: []byte(value),
			Headers: []publisher.Header{{Key: "null"}, {Key: "empty", Value: []byte{}}}}, nil); err != nil {
			t.Fatal(err)
		}
		n := c.acked.Load()
		until(t, "it is acked", func() bool { return c.acked.Load() > n || p.InFlight() == 0 })
	}
	send("old")

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []publisher.TailRecord
	keep := func(r publisher.TailRecord) error { got = append(got, r); return nil }
	err = Tail(ctx, cfg, publisher.TailOptions{Topics: []string{name}, Limit: 1, Started: func() { send("new") }}, keep)
	if err != nil || len(got) != 1 || string(got[0].Value) != "new" || got[0].Offset != 1 {
		t.Fatalf("from now on: %+v, %v", got, err)
	}
	got = nil
	err = Tail(ctx, cfg, publisher.TailOptions{Topics: []string{name}, Limit: 2, FromBeginning: true}, keep)
	if err != nil || len(got) != 2 || string(got[0].Value) != "old" {
		t.Fatalf("from the beginning: %+v, %v", got, err)
	}
	r := got[0]
	if r.Topic != name || r.Partition != 1 || r.Key == nil || r.Timestamp.IsZero() || len(r.Headers) != 2 ||
		r.Headers[0].Value != nil || r.Headers[1].Value == nil {
		t.Errorf("%+v", r)
	}
	enough := errors.New("enough")
	if err = Tail(ctx, cfg, publisher.TailOptions{Topics: []string{name}, FromBeginning: true},
		func(publisher.TailRecord) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("the receiver's error: %v", err)
	}
	if err = Tail(ctx, cfg, publisher.TailOptions{Topics: []string{"missing-" + name}}, keep); publisher.Class(err) != publisher.ClassNoTopic {
		t.Errorf("a missing topic: %v", err)
	}
	short, stop := context.WithCancel(ctx)
	if err = Tail(short, cfg, publisher.TailOptions{Topics: []string{name}, Started: stop}, keep); !errors.Is(err, context.Canceled) {
		t.Errorf("ctx over: %v", err)
	}
}
