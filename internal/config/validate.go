package config

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/outboxrelay/relay/internal/tracing"
)

// Limits of single keys. Each is a place where something breaks, or where a typo is likelier than an intention.
const (
	minInFlight = 1 << 20 // one record of Kafka's default limit
	maxInFlight = 4 << 30

	maxDrain = Duration(time.Hour)

	minPoll = Duration(time.Millisecond) // timers below that ride on whole milliseconds anyway
	maxPoll = Duration(time.Minute)

	// In at_least_once a record that was handed over must expire before the lease does, and must outlive a broker's
	// fail-over, which takes about 10 s with the broker's default broker.session.timeout.ms of 9 s.
	minLeaseAtLeastOnce = Duration(15 * time.Second)
	minLeaseExactlyOnce = Duration(3 * time.Second)
	maxLease            = Duration(10 * time.Minute)

	// The ring has eight slots, whose period follows keep. Beyond this a typo is likelier, and replay reads the whole ring.
	maxKeep = Duration(90 * 24 * time.Hour)

	minInbox = Duration(time.Hour)
	maxInbox = Duration(10 * 365 * 24 * time.Hour)

	maxIdentifier = 63  // bytes, PostgreSQL's NAMEDATALEN - 1
	maxTopicName  = 249 // bytes, Kafka's limit
)

// validate reports every value that cannot work, and warns of those that work and hurt.
func validate(cfg *Config, env []string, o options, r *report) {
	validatePostgres(cfg.Postgres, env, o, r)
	validateOutbox(cfg, r)
	validateKafka(cfg, r)
	validateHeaders(cfg.Headers, r)
	validateTopics(cfg.Topics, r)
	validateParked(cfg.Parked, cfg.Topics, r)
	between(r, "retention.keep", cfg.Retention.Keep, 0, maxKeep)
	between(r, "retention.inbox", cfg.Retention.Inbox, minInbox, maxInbox)
	schedule(r, "retention.schedule", cfg.Retention.Schedule)
	schedule(r, "audit.schedule", cfg.Audit.Schedule)
	if cfg.HTTP.Listen != "" {
		if reason := hostPort(cfg.HTTP.Listen, 0); reason != "" {
			r.fault("http.listen", `%s; write host:port, or "" to turn it off`, reason)
		}
	}
	validateConsole(cfg.Console, r)
	validateTracing(cfg.Tracing, r)
	oneOf(r, "log.level", cfg.Log.Level, LogLevels()...)
	oneOf(r, "log.format", cfg.Log.Format, LogFormats()...)
}

// maxSpans bounds what tracing costs: memory for each batch in flight, and time of the goroutine that takes acks.
const maxSpans = 10_000

func validateTracing(t Tracing, r *report) {
	if t.Endpoint != "" {
		if _, err := tracing.ParseEndpoint(t.Endpoint); err != nil {
			r.fault("tracing.endpoint", "%s", err)
		}
	}
	if t.MaxSpansPerSecond < 1 || t.MaxSpansPerSecond > maxSpans {
		r.fault("tracing.max_spans_per_second", "%d is not between 1 and %d", t.MaxSpansPerSecond, maxSpans)
	}
}

// minToken keeps a token from being guessed.
const minToken = 16

func validateConsole(c Console, r *report) {
	if c.Token != "" && c.TokenFile != "" {
		r.fault("console.token_file", "excludes console.token; %s", r.emptyOne("console.token", "console.token_file"))
		return
	}
	key := "console.token"
	if c.TokenFile != "" {
		key = "console.token_file"
	}
	switch token, err := plainOrFile(c.Token, c.TokenFile); {
	case err != nil:
		r.fault(key, "%s", err)
	case token == "" && c.TokenFile == "":
	case len(token) < minToken:
		r.fault(key, "the token is shorter than %d bytes, and could be guessed: openssl rand -hex 32 makes one", minToken)
	}
}

// LogLevels are the values of log.level.
func LogLevels() []string { return []string{"debug", "info", "warn", "error"} }

// LogFormats are the values of log.format.
func LogFormats() []string { return []string{"auto", "console", "json"} }

func validateOutbox(cfg *Config, r *report) {
	identifier(r, "outbox.schema", cfg.Outbox.Schema)
	if strings.HasPrefix(cfg.Outbox.Schema, "pg_") {
		r.fault("outbox.schema", "schemas that begin with pg_ belong to PostgreSQL")
	}
	if cfg.Outbox.Schema == "$user" {
		r.fault("outbox.schema", "search_path takes this for the role's name, quoted or not; choose another name")
	}
	identifier(r, "outbox.name", cfg.Outbox.Name)
	oneOf(r, "outbox.delivery", cfg.Outbox.Delivery, AtLeastOnce, ExactlyOnce)
	oneOf(r, "outbox.wake", cfg.Outbox.Wake, WakeAuto, WakeListen, WakePoll)
	between(r, "outbox.max_in_flight", cfg.Outbox.MaxInFlight, minInFlight, maxInFlight)
	between(r, "outbox.drain_timeout", cfg.Outbox.DrainTimeout, 0, maxDrain)

	between(r, "poll.min_interval", cfg.Poll.MinInterval, minPoll, maxPoll)
	between(r, "poll.max_interval", cfg.Poll.MaxInterval, minPoll, maxPoll)
	if cfg.Poll.MinInterval > cfg.Poll.MaxInterval && !r.faulty("poll.min_interval") && !r.faulty("poll.max_interval") {
		r.fault("poll.max_interval", "%s is shorter than poll.min_interval, %s", cfg.Poll.MaxInterval, cfg.Poll.MinInterval)
	}

	lowest := minLeaseAtLeastOnce
	if cfg.Outbox.Delivery == ExactlyOnce {
		lowest = minLeaseExactlyOnce
	}
	between(r, "lease.ttl", cfg.Lease.TTL, lowest, maxLease)
}

func validateHeaders(h Headers, r *report) {
	names := map[string]string{}
	for _, header := range []struct{ key, name string }{
		{"headers.id", h.ID}, {"headers.type", h.Type}, {"headers.created_at", h.CreatedAt},
	} {
		if header.name == "" {
			continue
		}
		if other, taken := names[header.name]; taken {
			r.fault(header.key, "%q is the name of %s as well; consumers could not tell them apart", header.name, other)
		}
		names[header.name] = header.key
	}
	if h.ID == "" {
		r.warn("headers.id", "without this header consumers cannot tell a second copy from a new event")
	}
}

var topicCharacters = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

// topicName says why Kafka refuses a name, or "".
func topicName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > maxTopicName:
		return fmt.Sprintf("is longer than %d characters", maxTopicName)
	case name == "." || name == "..":
		return "Kafka refuses the names . and .."
	case !topicCharacters.MatchString(name):
		return "Kafka's topic names are made of letters, digits, dots, underscores and hyphens"
	case strings.HasPrefix(name, "__"):
		return "topics that begin with __ belong to Kafka"
	}
	return ""
}

func validateTopics(t Topics, r *report) {
	if len(t.Allow) == 0 {
		r.warn("topics.allow", `no topic is allowed, so every event is held; ["*"] allows all`)
	}
	for i, pattern := range t.Allow {
		if reason := topicName(strings.ReplaceAll(pattern, "*", "x")); reason != "" {
			r.fault(fmt.Sprintf("topics.allow[%d]", i), "%s; a * stands for any characters", reason)
		}
	}
	seen := map[string]bool{}
	for i, topic := range t.Create {
		at := func(name string) string { return fmt.Sprintf("topics.create[%d].%s", i, name) }
		if reason := topicName(topic.Name); reason != "" {
			r.fault(at("name"), "%s", reason)
		}
		if seen[topic.Name] && topic.Name != "" {
			r.fault(at("name"), "%q is listed twice", topic.Name)
		}
		seen[topic.Name] = true
		if topic.Partitions < 1 {
			r.fault(at("partitions"), "must be 1 or more")
		}
		if topic.ReplicationFactor < 1 && topic.ReplicationFactor != -1 {
			r.fault(at("replication_factor"), "must be 1 or more, or -1 for the broker's default")
		}
		if topicName(topic.Name) == "" && !t.Allowed(topic.Name) {
			r.warn(at("name"), "%q is created, but topics.allow holds its events back", topic.Name)
		}
	}
}

func validateParked(p Parked, t Topics, r *report) {
	oneOf(r, "parked.on_dead", p.OnDead, OnDeadHoldKey, OnDeadSkip)
	if p.DeadLetterTopic == "" {
		return
	}
	if reason := topicName(p.DeadLetterTopic); reason != "" {
		r.fault("parked.dead_letter_topic", "%s", reason)
	} else if !t.Allowed(p.DeadLetterTopic) {
		r.fault("parked.dead_letter_topic", "topics.allow does not allow %q", p.DeadLetterTopic)
	}
}

// bounded is a kind of value that has a range.
type bounded interface {
	~int64
	fmt.Stringer
}

func between[T bounded](r *report, key string, value, low, high T) {
	if value < low || value > high {
		r.fault(key, "%s is not between %s and %s", value, low, high)
	}
}

func oneOf(r *report, key, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	quoted := make([]string, len(allowed))
	for i, a := range allowed {
		quoted[i] = strconv.Quote(a)
	}
	list := strings.Join(quoted, ", ")
	if near := nearest(value, allowed); near != "" && value != "" {
		r.fault(key, "%q is not one of %s; did you mean %q?", value, list, near)
		return
	}
	r.fault(key, "%q is not one of %s", value, list)
}

func identifier(r *report, key, value string) {
	switch {
	case value == "":
		r.fault(key, "is empty")
	case len(value) > maxIdentifier:
		r.fault(key, "is longer than %d bytes", maxIdentifier)
	case strings.ContainsRune(value, 0):
		r.fault(key, "contains a zero byte")
	}
}

func schedule(r *report, key, value string) {
	s, err := cron.ParseStandard(value)
	switch {
	case err != nil:
		r.fault(key, `is not a cron expression of five fields (minute hour day month weekday) such as "*/10 * * * *": %s`, err)
	case s.Next(time.Now()).IsZero():
		r.fault(key, "names no day that comes within five years")
	}
}

// hostPort says what is wrong with host:port, or "". It does not repeat the value, which may be a URL with a
// password.
func hostPort(value string, lowestPort int) string {
	if strings.Contains(value, "://") {
		return "is a URL; host:port is wanted"
	}
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		return "is not host:port"
	}
	if strings.ContainsAny(host, "@/ ") {
		return "the host contains @, / or a space"
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < lowestPort || n > 65535 {
		return fmt.Sprintf("the port is not a number from %d to 65535", lowestPort)
	}
	return ""
}
