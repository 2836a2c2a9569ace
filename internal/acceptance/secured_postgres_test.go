//go:build linux

package acceptance

import (
	"context"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/internal/migrate"
)

// encrypted is the settings of a PostgreSQL with TLS, to which the relay's roles must come by it: relay with a password,
// certified with a certificate. Tests come as postgres, without any of that.
func encrypted(a *authority) map[string]string {
	cert, key := a.save("postgres", a.issue("postgres", nil))
	hba := filepath.Join(a.folder, "pg_hba.conf")
	a.write(hba, []byte(strings.Join([]string{
		"local   all all                    trust",
		"host    all postgres  127.0.0.1/32 trust",
		"hostssl all relay     127.0.0.1/32 scram-sha-256",
		"hostssl all certified 127.0.0.1/32 cert",
	}, "\n")+"\n"))
	return map[string]string{"ssl": "on", "ssl_cert_file": cert, "ssl_key_file": key, "ssl_ca_file": a.file, "hba_file": hba}
}

// role makes a role that may what the relay may.
func (s *site) role(name, password string) {
	s.t.Helper()
	ctx := context.Background()
	sql := "create role " + pgx.Identifier{name}.Sanitize() + " login password '" + password + "'"
	if _, err := s.connect().Exec(ctx, sql); err != nil {
		s.t.Fatalf("create role %s: %v", name, err)
	}
	if err := migrate.GrantRelay(ctx, s.url, "outbox", name); err != nil {
		s.t.Fatal(err)
	}
}

// addressed is the connection string of a role that checks who the server is.
func (s *site) addressed(role, password, ca string, more ...string) string {
	parsed := must(pgx.ParseConfig(s.url))(s.t)
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=verify-full&sslrootcert=%s%s",
		role, password, parsed.Port, parsed.Database, ca, strings.Join(more, ""))
}

// serverIs gives PostgreSQL another certificate, while it runs.
func (s *securedSite) serverIs(change func(*x509.Certificate)) {
	s.t.Helper()
	s.authority.save("postgres", s.authority.issue("postgres", change))
	if s.ask("select pg_reload_conf()::int") != 1 {
		s.t.Fatal("PostgreSQL did not take its configuration anew")
	}
	eventually(s.t, "PostgreSQL has read its certificate", 10*time.Second, func() bool {
		return s.ask("select (pg_conf_load_time() > now() - interval '5 s')::int") == 1
	})
}

func TestSecured_Postgres(t *testing.T) {
	const password = "right-database-password"
	cluster := must(kafka.Start(context.Background(), kafka.Options{}))(t)
	t.Cleanup(cluster.Stop)
	s := &securedSite{binary: setUp(t), cluster: cluster, authority: newAuthority(t, "authority of the test"), folder: t.TempDir()}
	s.site = newSite(t, cluster, encrypted(s.authority))
	s.role("relay", password)
	s.role("certified", "")
	url := func(name, text string) []string {
		return []string{"RELAY_POSTGRES_URL=", "RELAY_POSTGRES_URL_FILE=" + s.file(name, text)}
	}
	right := s.addressed("relay", password, s.authority.file)
	certified := func(name string, id identity) string {
		cert, key := s.authority.save(name, id)
		return s.addressed("certified", "", s.authority.file, "&sslcert="+cert, "&sslkey="+key)
	}
	t.Run("verify-full and a password", func(t *testing.T) { s.as(t).works(url("url", right)) })
	t.Run("a certificate of its own", func(t *testing.T) {
		s.as(t).works(url("url", certified("client", s.authority.issue("certified", nil))))
	})

	s.heals(t, fault{
		name: "another password", env: url("rotated", s.addressed("relay", "wrong-database-password", s.authority.file)),
		words: []string{"password authentication failed"}, hide: []string{"wrong-database-password", password},
		cure: func(s *securedSite) { s.file("rotated", right) },
	}, postgresIsAway, postgresIsBack)
	s.heals(t, fault{
		name: "an authority that did not sign", env: url("url", s.addressed("relay", password, newAuthority(t, "another").file)),
		words: []string{"unknown authority"}, hide: []string{password},
		cure: func(s *securedSite) { s.file("url", right) },
	}, postgresIsAway, postgresIsBack)
	for name, wrong := range map[string]struct {
		change func(*x509.Certificate)
		word   string
	}{
		"a certificate for another host": {elsewhere, "cannot validate certificate for 127.0.0.1"},
		"an expired certificate":         {expired, "expired"},
	} {
		s.serverIs(wrong.change)
		s.heals(t, fault{
			name: name, env: url("url", right), words: []string{wrong.word}, hide: []string{password},
			cure: func(s *securedSite) { s.serverIs(nil) },
		}, postgresIsAway, postgresIsBack)
	}
	s.heals(t, fault{
		name: "an expired certificate of its own", env: url("url", certified("old", s.authority.issue("certified", expired))),
		words: []string{"expired"},
		cure:  func(s *securedSite) { certified("old", s.authority.issue("certified", nil)) },
	}, postgresIsAway, postgresIsBack)
	s.heals(t, fault{
		name: "somebody else's certificate", env: url("url", certified("other", s.authority.issue("somebody", nil))),
		words: []string{"certificate authentication failed"},
		cure:  func(s *securedSite) { certified("other", s.authority.issue("certified", nil)) },
	}, postgresIsAway, postgresIsBack)
	t.Run("a password that is changed while the relay runs", func(t *testing.T) { s.as(t).rotatesPassword(url("url", right)) })
}

func (s *securedSite) rotatesPassword(env []string) {
	const changed = "changed-database-password"
	d := s.relay(s.binary, env...)
	s.delivers(d)
	conn := s.connect()
	for _, sql := range []string{
		"alter role relay password '" + changed + "'",
		"select pg_terminate_backend(pid) from pg_stat_activity where usename = 'relay'",
	} {
		if _, err := conn.Exec(context.Background(), sql); err != nil {
			s.t.Fatal(err)
		}
	}
	d.refused(postgresIsAway)
	s.insert(1)
	s.file("url", s.addressed("relay", changed, s.authority.file))
	s.settled(d, s.ask("select count(*) from outbox.events"), time.Minute)
	d.stop(20 * time.Second)
	d.silentAbout(changed)
}
