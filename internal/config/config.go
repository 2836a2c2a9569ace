package config

import (
	"fmt"
	"time"

	"github.com/outboxrelay/relay/publisher"
)

// Config is the whole configuration. Its fields hold effective values: defaults, overlaid by the file, overlaid by
// the environment. It is read-only once loaded, and safe to read from any goroutine.
type Config struct {
	Postgres  Postgres  `toml:"postgres"`
	Outbox    Outbox    `toml:"outbox"`
	Poll      Poll      `toml:"poll"`
	Lease     Lease     `toml:"lease"`
	Kafka     Kafka     `toml:"kafka"`
	Headers   Headers   `toml:"headers"`
	Topics    Topics    `toml:"topics"`
	Parked    Parked    `toml:"parked"`
	Retention Retention `toml:"retention"`
	Audit     Audit     `toml:"audit"`
	HTTP      HTTP      `toml:"http"`
	Console   Console   `toml:"console"`
	Tracing   Tracing   `toml:"tracing"`
	Log       Log       `toml:"log"`

	file     string
	origins  map[string]origin
	warnings []Fault
}

// Postgres says where the database is. Both empty means the PG* environment variables, as psql reads them.
type Postgres struct {
	URL     URL    `toml:"url"`
	URLFile string `toml:"url_file"`
}

// Outbox names the outbox and says how it is delivered.
type Outbox struct {
	Schema       string   `toml:"schema"`
	Name         string   `toml:"name"`
	Delivery     string   `toml:"delivery"` // AtLeastOnce, ExactlyOnce
	Wake         string   `toml:"wake"`     // WakeAuto, WakeListen, WakePoll
	MaxInFlight  Size     `toml:"max_in_flight"`
	DrainTimeout Duration `toml:"drain_timeout"`
}

// The values of outbox.delivery and outbox.wake.
const (
	AtLeastOnce = "at_least_once"
	ExactlyOnce = "exactly_once"

	WakeAuto   = "auto"
	WakeListen = "listen"
	WakePoll   = "poll"
)

// Poll bounds the pause between two looks at the outbox.
type Poll struct {
	MinInterval Duration `toml:"min_interval"`
	MaxInterval Duration `toml:"max_interval"`
}

// Lease is about leadership.
type Lease struct {
	TTL Duration `toml:"ttl"`
}

// Kafka says where the brokers are and how records are sent.
type Kafka struct {
	Brokers         []string   `toml:"brokers"`
	ClientID        string     `toml:"client_id"`
	Client          string     `toml:"client"`      // ClientLibrdkafka, ClientFranz
	Compression     string     `toml:"compression"` // none, gzip, lz4, snappy, zstd
	Timestamp       string     `toml:"timestamp"`   // TimestampPublished, TimestampCreated
	TransactionalID string     `toml:"transactional_id"`
	ProgressTopic   string     `toml:"progress_topic"`
	TLS             TLS        `toml:"tls"`
	SASL            SASL       `toml:"sasl"`
	Properties      Properties `toml:"properties"`
}

// The values of kafka.client and kafka.timestamp.
const (
	ClientLibrdkafka = publisher.ClientLibrdkafka
	ClientFranz      = publisher.ClientFranz

	TimestampPublished = "published"
	TimestampCreated   = "created"
)

// TLS to the brokers. The files are PEM.
type TLS struct {
	Enabled         bool   `toml:"enabled"`
	CAFile          string `toml:"ca_file"`
	CertFile        string `toml:"cert_file"`
	KeyFile         string `toml:"key_file"`
	KeyPasswordFile string `toml:"key_password_file"`
}

// SASL says who we are to the brokers. Mechanism "" means none.
type SASL struct {
	Mechanism        string `toml:"mechanism"` // PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER
	Username         string `toml:"username"`
	Password         Secret `toml:"password"`
	PasswordFile     string `toml:"password_file"`
	ClientID         string `toml:"client_id"` // this and the rest: OAUTHBEARER by client credentials
	ClientSecret     Secret `toml:"client_secret"`
	ClientSecretFile string `toml:"client_secret_file"`
	TokenURL         string `toml:"token_url"`
	Scope            string `toml:"scope"`
}

// Headers names the record headers that the relay adds; "" leaves one out.
type Headers struct {
	ID        string `toml:"id"`
	Type      string `toml:"type"`
	CreatedAt string `toml:"created_at"`
}

// Topics says which topics may be written, and which are created at start.
type Topics struct {
	Allow  []string      `toml:"allow"`
	Create []CreateTopic `toml:"create"`
}

// CreateTopic is a topic that is created when it is missing. ReplicationFactor -1 leaves it to the broker.
type CreateTopic struct {
	Name              string            `toml:"name"`
	Partitions        int               `toml:"partitions"`
	ReplicationFactor int               `toml:"replication_factor"`
	Config            map[string]string `toml:"config"`
}

// Parked says what happens to events that cannot be delivered.
type Parked struct {
	OnDead          string `toml:"on_dead"` // OnDeadHoldKey, OnDeadSkip
	DeadLetterTopic string `toml:"dead_letter_topic"`
}

// The values of parked.on_dead.
const (
	OnDeadHoldKey = "hold_key"
	OnDeadSkip    = "skip"
)

// Retention says how long delivered events stay readable in the outbox, and how long the inbox remembers messages.
type Retention struct {
	Keep     Duration `toml:"keep"`
	Inbox    Duration `toml:"inbox"`
	Schedule string   `toml:"schedule"`
}

// Audit says when the books are compared with the table.
type Audit struct {
	Schedule string `toml:"schedule"`
}

// HTTP is the server for health and metrics. Listen "" means none.
type HTTP struct {
	Listen string `toml:"listen"`
}

// Console is the web page on http.listen, and the endpoints that it uses.
type Console struct {
	Enabled      bool   `toml:"enabled"`
	ShowPayloads bool   `toml:"show_payloads"`
	Token        Secret `toml:"token"`
	TokenFile    string `toml:"token_file"`
}

// Reveal is the token; "" when there is none, and then nothing can be changed. The file is read anew at each call.
func (c Console) Reveal() (string, error) {
	token, err := plainOrFile(c.Token, c.TokenFile)
	if err != nil {
		return "", fmt.Errorf("console.token_file: %w", err)
	}
	return token, nil
}

// Tracing says where spans of sampled events go, by OTLP over HTTP. Endpoint "" leaves it to OpenTelemetry's variables.
type Tracing struct {
	Endpoint          string `toml:"endpoint"`
	MaxSpansPerSecond int    `toml:"max_spans_per_second"`
}

// Log says what is logged and how.
type Log struct {
	Level  string `toml:"level"`  // debug, info, warn, error
	Format string `toml:"format"` // auto, console, json
}

// Default returns what holds when nothing is written. Each call returns a value of its own.
func Default() *Config {
	return &Config{
		Outbox: Outbox{
			Schema:       "outbox",
			Name:         "main",
			Delivery:     AtLeastOnce,
			Wake:         WakeAuto,
			MaxInFlight:  32 << 20,
			DrainTimeout: Duration(20 * time.Second),
		},
		Poll:  Poll{MinInterval: Duration(time.Millisecond), MaxInterval: Duration(50 * time.Millisecond)},
		Lease: Lease{TTL: Duration(15 * time.Second)},
		Kafka: Kafka{
			Brokers:       []string{"localhost:9092"},
			ClientID:      "relay",
			Client:        defaultClient(),
			Compression:   "none",
			Timestamp:     TimestampPublished,
			ProgressTopic: "relay-progress",
			Properties:    Properties{},
		},
		Headers:   Headers{ID: "id", Type: "type", CreatedAt: "created_at"},
		Topics:    Topics{Allow: []string{"*"}, Create: []CreateTopic{}},
		Parked:    Parked{OnDead: OnDeadHoldKey},
		Retention: Retention{Keep: Duration(24 * time.Hour), Inbox: Duration(720 * time.Hour), Schedule: "*/1 * * * *"},
		Audit:     Audit{Schedule: "*/10 * * * *"},
		HTTP:      HTTP{Listen: "127.0.0.1:9187"},
		Console:   Console{Enabled: true},
		Tracing:   Tracing{MaxSpansPerSecond: 100},
		Log:       Log{Level: "info", Format: "auto"},
	}
}

// defaultClient is librdkafka, or what a build without it has.
func defaultClient() string {
	if publisher.HasLibrdkafka {
		return ClientLibrdkafka
	}
	return ClientFranz
}

// File is the path of the file that was read, or "" when there was none.
func (c *Config) File() string { return c.file }

// Warnings are about values that work but are likely to hurt, in the order of their places. They are no faults.
func (c *Config) Warnings() []Fault { return c.warnings }
