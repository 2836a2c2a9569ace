package config

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"

	"github.com/outboxrelay/relay/publisher"
)

// hidden stands in for a secret wherever one would be printed.
const hidden = "***"

// Secret is a string that does not print: every way of formatting it writes *** (or nothing when it is empty).
// Reveal is the only way to the value, so a search for it finds every use.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// Format hides the secret from every verb: a wrong one, such as %d, would print the value in its complaint.
func (s Secret) Format(f fmt.State, verb rune) { formatHidden(f, verb, s.String()) }

// MarshalText hides the secret from TOML, JSON and other encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON hides the secret from encoding/json.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(s.GoString()), nil }

// LogValue hides the secret from log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// URL is a libpq connection string, postgres://… or key=value. It prints without its passwords.
type URL string

// Reveal returns the connection string itself.
func (u URL) Reveal() string { return string(u) }

// String is the connection string with every password replaced by ***. A string whose parts cannot be told apart
// for certain is hidden as a whole.
func (u URL) String() string { return redact(string(u)) }

// GoString hides the passwords from %#v.
func (u URL) GoString() string { return `"` + u.String() + `"` }

// Format hides the passwords from every verb.
func (u URL) Format(f fmt.State, verb rune) { formatHidden(f, verb, u.String()) }

// MarshalText hides the passwords from TOML, JSON and other encoders.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// LogValue hides the passwords from log/slog.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// Properties are librdkafka's, by its own names. Those that hold, or may hold, a secret print as ***.
type Properties map[string]string

// Shown is a copy in which secrets are hidden.
func (p Properties) Shown() map[string]string {
	shown := make(map[string]string, len(p))
	for name, value := range p {
		shown[name] = value
		if value != "" && publisher.IsSecret(name) {
			shown[name] = hidden
		}
	}
	return shown
}

// Format hides secrets from every verb.
func (p Properties) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, p.Shown()) }

// MarshalJSON hides secrets from encoding/json.
func (p Properties) MarshalJSON() ([]byte, error) { return json.Marshal(p.Shown()) }

// LogValue hides secrets from log/slog.
func (p Properties) LogValue() slog.Value { return slog.AnyValue(p.Shown()) }

func formatHidden(f fmt.State, verb rune, shown string) {
	if verb == 'q' || f.Flag('#') {
		shown = `"` + shown + `"`
	}
	_, _ = io.WriteString(f, shown) // a fmt.State keeps its own error
}

func redact(conn string) string {
	if conn == "" {
		return ""
	}
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if rest, found := strings.CutPrefix(conn, scheme); found {
			return scheme + redactURL(rest)
		}
	}
	return redactKeyValues(conn)
}

// redactURL hides the passwords of [user[:password]@]hosts[/database][?query].
func redactURL(rest string) string {
	place, query, hasQuery := strings.Cut(rest, "?")
	user, hosts, hasUser := strings.Cut(place, "@")
	if !hasUser {
		user, hosts = "", place
	}
	// An @ that is left over, or a slash in the user part, means that a password was written without escaping and
	// that its end is a guess.
	if strings.Contains(hosts, "@") || strings.Contains(user, "/") || strings.Contains(query, "@") || strings.Contains(rest, "#") {
		return hidden
	}
	var b strings.Builder
	if hasUser {
		name, _, hasPassword := strings.Cut(user, ":")
		b.WriteString(name)
		if hasPassword {
			b.WriteString(":" + hidden)
		}
		b.WriteString("@")
	}
	b.WriteString(hosts)
	if hasQuery {
		b.WriteString("?" + redactQuery(query))
	}
	return b.String()
}

// shownParameters are the parameters that are shown; whatever is not listed is hidden, because a percent-encoded or
// misspelt "password" would not be recognised.
var shownParameters = map[string]bool{
	"application_name": true, "channel_binding": true, "connect_timeout": true, "database": true, "dbname": true,
	"fallback_application_name": true, "host": true, "hostaddr": true, "options": true, "passfile": true,
	"port": true, "require_auth": true, "search_path": true, "service": true, "servicefile": true,
	"sslcert": true, "sslcertmode": true, "sslkey": true, "sslmode": true, "sslnegotiation": true,
	"sslrootcert": true, "sslsni": true, "target_session_attrs": true, "user": true,
}

func redactQuery(query string) string {
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		key, _, hasValue := strings.Cut(pair, "=")
		if hasValue && !shownParameters[key] {
			pairs[i] = key + "=" + hidden
		}
	}
	return strings.Join(pairs, "&")
}

// settingName is what the name of a setting looks like. A URL in quotes, or one that begins with a space or in capitals,
// is a key=value string to libpq and pgx: all before its first = is the name, the password with it.
var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// redactKeyValues hides the passwords of libpq's key=value form, where a value may be quoted with ' and escaped
// with a backslash.
func redactKeyValues(conn string) string {
	var out []string
	for rest := strings.TrimSpace(conn); rest != ""; rest = strings.TrimLeft(rest, " \t\r\n") {
		key, after, found := strings.Cut(rest, "=")
		key = strings.TrimSpace(key)
		if !found || !settingName.MatchString(key) {
			return hidden
		}
		after = strings.TrimLeft(after, " \t\r\n")
		length, closed := valueLength(after)
		if !closed {
			return hidden
		}
		value := after[:length]
		rest = after[length:]
		if !shownParameters[key] && value != "" {
			value = hidden
		}
		out = append(out, key+"="+value)
	}
	return strings.Join(out, " ")
}

// valueLength is how much of s is its first value, quotes included. It is not closed when a quote is missing.
func valueLength(s string) (length int, closed bool) {
	quoted := strings.HasPrefix(s, "'")
	i := 0
	if quoted {
		i = 1
	}
	for ; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case quoted && s[i] == '\'':
			return i + 1, true
		case !quoted && strings.IndexByte(" \t\r\n", s[i]) >= 0:
			return i, true
		}
	}
	return min(i, len(s)), !quoted
}
