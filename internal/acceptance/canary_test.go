//go:build linux

package acceptance

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/process"
)

// canaries are secrets that must not be seen anywhere, each of its own, so that a find says which it was.
type canaries struct{ database, login, key, client string }

var sings = canaries{database: "kanarie-datenbank-7Q", login: "kanarie-anmeldung-7Q", key: "kanarie-schluessel-7Q", client: "kanarie-klient-7Q"}

// disguises are the forms in which a secret travels.
func disguises(secret string) []string {
	forms := []string{secret, hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret)))}
	for offset := range 3 { // base64 of a text that contains it, whatever stands before
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", offset) + secret))
		forms = append(forms, text[4*((offset+2)/3):len(text)-4])
	}
	return forms
}

// search fails for each canary in a text, and for each token of the identity provider.
func (c canaries) search(t testing.TB, where, text string) {
	t.Helper()
	for name, secret := range map[string]string{"the database's password": c.database, "the login's": c.login, "the key's": c.key, "the client secret": c.client} {
		for _, form := range disguises(secret) {
			if i := strings.Index(text, form); i >= 0 {
				t.Errorf("%s is in %s: …%s…", name, where, text[max(0, i-150):min(len(text), i+len(form)+20)])
				break
			}
		}
	}
	if i := strings.Index(text, b64([]byte(`{"alg":"RS256"`))[:16]); i >= 0 {
		t.Errorf("a token is in %s: …%s…", where, text[max(0, i-150):min(len(text), i+40)])
	}
}

func TestDisguises_AreFoundWhereTheyHide(t *testing.T) {
	const secret = "kanarie-probe-7Q"
	for _, before := range []string{"", "u:", "relay:", "\x00relay\x00"} {
		text := base64.StdEncoding.EncodeToString([]byte(before + secret + "!"))
		found := false
		for _, form := range disguises(secret) {
			found = found || strings.Contains(text, form)
		}
		if !found {
			t.Errorf("not found behind %q: %s", before, text)
		}
	}
}

// TestSecured_NothingTellsASecret runs the relay with a canary for each secret, at its most talkative, through faults
// of every kind, and reads all that it wrote and answered.
func TestSecured_NothingTellsASecret(t *testing.T) {
	s := newSecuredSite(t)
	s.role("relay", sings.database)
	s.passwordIs(sings.login)
	s.provider.secret.Store(sings.client)
	id := s.authority.issue("relay", nil)
	id.key = locked(t, id.key, sings.key)
	cert, key := s.authority.save("canary", id)
	parsed := must(url.Parse(s.url))(t)
	parsed.User = url.UserPassword("relay", sings.database)
	parsed.RawQuery = "sslmode=verify-full&sslrootcert=" + s.authority.file
	keyPassword := s.file("key-password", sings.key)
	for name, sasl := range map[string]string{
		"SCRAM": "mechanism = \"SCRAM-SHA-512\"\nusername = \"relay\"\npassword = \"" + sings.login + "\"",
		"PLAIN": "mechanism = \"PLAIN\"\nusername = \"relay\"\npassword = \"" + sings.login + "\"", // which the broker refuses
		"OAUTHBEARER": "mechanism = \"OAUTHBEARER\"\nclient_id = \"relay\"\nclient_secret = \"" + sings.client +
			"\"\nscope = \"kafka\"\ntoken_url = \"" + s.provider.URL + "/token\"",
	} {
		t.Run(name, func(t *testing.T) {
			s := s.as(t)
			s.talks(fmt.Sprintf(`
postgres.url = "%s"
http.listen = "127.0.0.1:%d"
log.level = "debug"
[kafka]
brokers = ["%s"]
[kafka.tls]
enabled = true
ca_file = "%s"
cert_file = "%s"
key_file = "%s"
key_password_file = "%s"
[kafka.sasl]
%s
[kafka.properties]
debug = "all"
`, parsed, must(process.FreePort())(t), s.cluster.BrokersOf(loggedIn)[0], s.authority.file, cert, key, keyPassword, sasl), keyPassword)
		})
	}
}

// talks provokes faults of one relay and reads what it says.
func (s *securedSite) talks(config, keyPassword string) {
	file := s.file("canary.toml", config)
	_, address, _ := strings.Cut(config, "http.listen = \"")
	address, _, _ = strings.Cut(address, "\"")
	for _, args := range [][]string{
		{"config", "print"}, {"config", "print", "--json"}, {"config", "check"}, {"check"}, {"check", "--json"},
		{"status"}, {"status", "--json"}, {"tail", s.topic, "--from-beginning", "--limit", "1"}, {"run", "--no-such-flag"},
	} {
		s.reads(append([]string{"--config", file, "--log-level", "debug"}, args...))
	}
	d := launch(s.t, s.binary, []string{"run", "--config", file})
	eventually(s.t, "the relay answers", 20*time.Second, func() bool {
		answer, err := http.Get("http://" + address + "/livez")
		if err == nil {
			_ = answer.Body.Close()
		}
		return err == nil
	})
	s.insert(3) // a topic that may not be written
	s.provokes(d, keyPassword)
	for _, path := range []string{"/livez", "/readyz", "/status", "/metrics", "/config", "/debug/pprof/"} {
		answer := must(http.Get("http://" + address + path))(s.t)
		body := must(io.ReadAll(answer.Body))(s.t)
		answer.Body.Close()
		sings.search(s.t, path, string(body))
	}
	d.Signal(syscall.SIGQUIT) // Go prints every goroutine
	d.ends(20 * time.Second)
	text := string(must(os.ReadFile(d.log))(s.t))
	if !strings.Contains(text, "goroutine ") || strings.Contains(text, "session began") != strings.Contains(text, "kafka client") {
		s.t.Errorf("no goroutines or no lines of Kafka's client in %d bytes of log: there was nothing to find", len(text))
	}
	sings.search(s.t, "the log", text)
	s.t.Logf("%d kB of log", len(text)/1024)
}

// provokes takes away what the relay needs, one after the other.
func (s *securedSite) provokes(d *daemon, keyPassword string) {
	conn := s.connect()
	do := func(sql string) {
		if _, err := conn.Exec(context.Background(), sql); err != nil {
			s.t.Fatal(err)
		}
	}
	said := func(phrases ...string) {
		eventually(s.t, fmt.Sprintf("the relay says one of %q", phrases), time.Minute, func() bool {
			d.runs()
			text := string(must(os.ReadFile(d.log))(s.t))
			return slices.ContainsFunc(phrases, func(phrase string) bool { return strings.Contains(text, phrase) })
		})
	}
	const cut = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'relay'"
	said("session began", kafkaIsAway)
	do("alter role relay password '" + sings.database + "-changed'")
	do(cut)
	said(postgresIsAway)
	do("alter role relay password '" + sings.database + "'")
	eventually(s.t, "a session begins anew", time.Minute, func() bool {
		d.runs()
		text := string(must(os.ReadFile(d.log))(s.t))
		_, after, back := strings.Cut(text, postgresIsBack)
		return back && (strings.Contains(after, "session began") || strings.Contains(text, kafkaIsAway))
	})
	if strings.HasSuffix(s.t.Name(), "OAUTHBEARER") {
		return // librdkafka ends the process when a client with tokens cannot open its key, if Ping does not see it first
	}
	writeFile(s.t, keyPassword, []byte(sings.key+"-wrong"))
	do(cut)
	said(kafkaIsAway)
	writeFile(s.t, keyPassword, []byte(sings.key))
}

// reads runs a command and searches what it prints.
func (s *securedSite) reads(args []string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, args...)
	cmd.Dir, cmd.Env = filepath.Dir(s.folder), []string{"PATH=" + os.Getenv("PATH")}
	out, _ := cmd.CombinedOutput() // most of them fail
	if len(out) == 0 {
		s.t.Errorf("%v printed nothing", args)
	}
	sings.search(s.t, fmt.Sprint(args), string(out))
}
