package main

import (
	"crypto/tls"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/clients"
	"github.com/outboxrelay/relay/publisher/contract"
)

// A producer that could not be opened was a nil pointer in an interface that is not nil: the session closed it, and the
// daemon ended in a panic. It took a key that does not fit, or exactly_once without the right to its transactional id.
func TestKafkaSide_GivesNoProducerWithAnError(t *testing.T) {
	cfg := config.Default()
	cfg.Kafka.Properties = config.Properties{"no.such.property": "1"}
	for _, client := range clients.All() {
		givesNoProducer(t, client, cfg)
	}
}

// The question about a transaction that hangs is franz-go's whatever the client is. It went without kafka.properties,
// and so was not answered where tokens come from a server with an authority of its own.
func TestKafkaSide_AsksAboutHangingTransactionsWithThePropertiesOfConnections(t *testing.T) {
	authority := contract.NewIdentity(t, "tokens", nil)
	asked := make(chan struct{}, 100)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		http.Error(w, "{}", http.StatusUnauthorized)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Pair}}
	server.StartTLS()
	defer server.Close()
	brokers := contract.StartFake(t, kfake.EnableSASL())
	brokers.ControlKey(int16(kmsg.SASLHandshake), func(request kmsg.Request) (kmsg.Response, error, bool) {
		brokers.KeepControl()
		return request.ResponseKind(), nil, true // it would say that it does not offer OAUTHBEARER
	})
	text, err := os.ReadFile(authority.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"https.ca.location": authority.CertFile, "https.ca.pem": string(text)} {
		cfg := config.Default()
		cfg.Kafka.Brokers = brokers.ListenAddrs()
		cfg.Kafka.SASL = config.SASL{Mechanism: "OAUTHBEARER", ClientID: "id", ClientSecret: "secret", TokenURL: server.URL}
		cfg.Kafka.Properties = config.Properties{name: value, "batch.num.messages": "1000"}
		k := newKafkaSide(cfg, clients.All()[0], slog.New(slog.DiscardHandler))
		_, err := k.hanging(t.Context(), "key", "id")
		select {
		case <-asked:
		default:
			t.Errorf("%s: the server of tokens was not asked: %v", name, err)
		}
		for len(asked) > 0 {
			<-asked
		}
	}
}

func givesNoProducer(t *testing.T, client publisher.Client, cfg *config.Config) {
	t.Helper()
	k := &kafkaSide{cfg: cfg, client: client, timeout: 1e9}
	if p, err := k.open(nil); p != nil || publisher.Class(err) != publisher.ClassConfiguration {
		t.Errorf("open: %v, %v", p, err)
	}
	if p, err := k.openTransactional(t.Context(), "id", nil); p != nil || publisher.Class(err) != publisher.ClassConfiguration {
		t.Errorf("open a transactional one: %v, %v", p, err)
	}
}
