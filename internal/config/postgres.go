package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// ConnString returns what pgx takes as a connection string: the URL, or what URLFile holds at this moment, so that
// a rotated secret is picked up by the next connection. It is "" when the PG* variables say it all. The result holds
// a password: it belongs into no log and no error.
func (p Postgres) ConnString() (string, error) {
	if p.URLFile == "" {
		return p.URL.Reveal(), nil
	}
	content, err := readSecret(p.URLFile)
	if err != nil {
		return "", fmt.Errorf("postgres.url_file: %w", err)
	}
	return content, nil
}

// readSecret reads a file that holds one secret. Editors and `echo` end it with a newline that is not part of it.
func readSecret(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, withoutPath(err))
	}
	secret := strings.TrimRight(string(content), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return secret, nil
}

func validatePostgres(p Postgres, env []string, o options, r *report) {
	key := "postgres.url"
	if !o.postgresOptional && hasAddressVariable(env) {
		r.faults = append(r.faults, Fault{Env: hostAddress,
			Reason: "is not known to the relay, which would look elsewhere than psql; unset it, and write the address as the host, into postgres.url or PGHOST"})
		return
	}
	switch {
	case p.URL != "" && p.URLFile != "":
		r.fault("postgres.url_file", `excludes postgres.url; %s`, r.emptyOne("postgres.url", "postgres.url_file"))
		return
	case p.URLFile != "":
		key = "postgres.url_file"
	case p.URL == "" && !hasPostgresVariables(env):
		if !o.postgresOptional {
			r.fault(key, `is not set, so the database is unknown: set postgres.url, postgres.url_file, %s, or the PG* variables of libpq`,
				EnvName("postgres.url"))
		}
		return
	}
	conn, err := p.ConnString()
	if err != nil {
		r.fault(key, "%s", strings.TrimPrefix(err.Error(), key+": "))
		return
	}
	parsed, err := pgconn.ParseConfig(conn)
	if err != nil {
		r.fault(key, "%s", ConnStringReason(err))
		return
	}
	if parsed.RuntimeParams["hostaddr"] != "" {
		r.fault(key, "contains hostaddr, which the relay does not know; write the address as the host")
	}
	// pgx would connect to the default place and send the server what it took for a setting.
	for name := range parsed.RuntimeParams {
		if !settingName.MatchString(name) {
			r.fault(key, "%s", noConnString)
			return
		}
	}
	if host := unprotected(parsed); host != "" {
		r.warn(key, "the connection to %s may go unencrypted or to a server that was not verified; add sslmode=verify-full", host)
	}
}

// emptyOne says how to leave a pair of keys that exclude one another, naming the variables if they came from there.
func (r *report) emptyOne(a, b string) string {
	for _, key := range []string{a, b} {
		if env := r.origins[key].env; env != "" {
			return fmt.Sprintf("keep one: unset %s, or empty the other with %s=", env, EnvName(otherOf(a, b, key)))
		}
	}
	return "keep one of them"
}

func otherOf(a, b, key string) string {
	if key == a {
		return b
	}
	return a
}

// hostAddress is libpq's variable for where a host is, whatever names say. pgx has nothing of the kind: it would go to
// PGHOST's address instead, or to this machine.
const hostAddress = "PGHOSTADDR"

func hasAddressVariable(env []string) bool {
	return slices.ContainsFunc(env, func(pair string) bool {
		name, value, _ := strings.Cut(pair, "=")
		return name == hostAddress && value != ""
	})
}

// hasPostgresVariables says whether libpq's own variables name a place.
func hasPostgresVariables(env []string) bool {
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		switch name {
		case "PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE":
			if value != "" {
				return true
			}
		}
	}
	return false
}

// connStringReasons are the complaints of pgx about a connection string that name no part of it that can be secret.
var connStringReasons = []string{
	"unable to read CA file", "unable to add CA to cert pool", "sslmode is invalid", "invalid sslcertmode",
	"invalid connect_timeout", "unknown target_session_attrs value", "invalid require_auth",
	"unknown channel_binding value", "unable to read sslcert", "unable to load cert", "failed to read service",
	"failed to configure TLS",
}

const noConnString = `is not a connection string: write postgres://user:password@host:5432/database or host=… dbname=…; in a URL, the characters @ : / ? # % of a password are %40 %3A %2F %3F %23 %25`

// ConnStringReason says what is wrong with a connection string without quoting it. The error is one of
// pgconn.ParseConfig, whose own text repeats the string and hides its password only as well as it can.
func ConnStringReason(err error) string {
	parse, ok := errors.AsType[*pgconn.ParseConfigError](err)
	if !ok {
		return noConnString
	}
	text := err.Error()
	_, reason, found := strings.Cut(text, "`: ")
	if found && !strings.HasPrefix(reason, "failed to parse") && !strings.Contains(parse.ConnString, "`") {
		for _, known := range connStringReasons {
			if strings.Contains(reason, known) {
				return "does not work: " + known
			}
		}
	}
	return noConnString
}

// unprotected names a host away from this machine to which the connection may be in clear, or whose certificate is
// not checked; "" when there is none.
func unprotected(c *pgconn.Config) string {
	type target struct {
		host   string
		secure bool
	}
	targets := []target{{c.Host, c.TLSConfig != nil && verifies(c.TLSConfig)}}
	for _, f := range c.Fallbacks {
		targets = append(targets, target{f.Host, f.TLSConfig != nil && verifies(f.TLSConfig)})
	}
	for _, t := range targets {
		if !t.secure && !isLocal(t.host) {
			return t.host
		}
	}
	return ""
}

// isLocal says whether a host is this machine: a Unix socket, localhost, or a loopback address.
func isLocal(host string) bool {
	if host == "" || strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
