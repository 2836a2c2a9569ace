package torture

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

// configure writes the relays' configuration.
func (s *site) configure() (path string, err error) {
	brokers := s.brokers
	if s.kafka != nil {
		brokers = s.kafka.Brokers()
	}
	var list []string
	for _, broker := range brokers {
		list = append(list, fmt.Sprintf("%q", broker))
	}
	config := fmt.Sprintf("[postgres]\nurl = %q\n[outbox]\nschema = %q\nname = %q\ndelivery = %q\n[lease]\nttl = %q\n[log]\nformat = \"json\"\n"+
		"[kafka]\nclient = %q\nbrokers = [%s]\n", s.relayURL(), s.Schema, s.Name, s.Mode, s.LeaseTTL, s.Client, strings.Join(list, ", "))
	if s.progress != "" {
		config += fmt.Sprintf("progress_topic = %q\n", s.progress)
	}
	path = filepath.Join(s.folder, "relay.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return "", fmt.Errorf("write the relays' configuration: %w", err)
	}
	return path, nil
}

// relayURL is the relays' way to PostgreSQL. To a server that is started here it has a password that the server does not
// ask for, and that must not be seen anywhere again.
func (s *site) relayURL() string {
	if s.postgres == nil {
		return s.url
	}
	var hosts []string
	for _, way := range s.ways {
		hosts = append(hosts, way.Address())
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword("postgres", s.secrets[0]), Host: strings.Join(hosts, ","), Path: "/postgres",
		RawQuery: "sslmode=disable&target_session_attrs=read-write"}
	return u.String()
}

// describe says what the servers are, for people.
func (s *site) describe(ctx context.Context) string {
	database := "PostgreSQL"
	if conn, err := s.connect(ctx); err == nil {
		var version string
		if conn.QueryRow(ctx, "select split_part(current_setting('server_version'), ' ', 1)").Scan(&version) == nil {
			database += " " + version
		}
		closeNow(conn)
	}
	nodes := "Kafka of somebody's own"
	if s.kafka != nil {
		nodes = fmt.Sprintf("Kafka %s, %d node(s)", kafkaVersion(ctx, s.admin), s.Nodes)
	}
	switch {
	case s.postgres == nil:
		database += " of somebody's own"
	case s.standby != nil:
		database += " with a standby (" + s.Standby + ")"
	}
	return database + ", " + nodes
}

// kafkaVersion is what the brokers' protocol tells of it.
func kafkaVersion(ctx context.Context, admin *kadm.Client) string {
	versions, err := admin.ApiVersions(ctx)
	if err != nil {
		return ""
	}
	for _, v := range versions {
		return strings.TrimPrefix(v.VersionGuess(), "v")
	}
	return ""
}

// commit of the relay's binary.
func commit(ctx context.Context, binary string) string {
	out, err := exec.CommandContext(ctx, binary, "version").Output()
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(strings.TrimPrefix(first, "relay"))
}
