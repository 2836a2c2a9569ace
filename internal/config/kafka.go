package config

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/outboxrelay/relay/publisher"
)

// The mechanisms of kafka.sasl.mechanism.
const (
	saslPlain       = "PLAIN"
	saslScram256    = "SCRAM-SHA-256"
	saslScram512    = "SCRAM-SHA-512"
	saslOAuthBearer = "OAUTHBEARER"
)

// franz-go makes no client with longer ones, in bytes (validate in kgo's config.go).
const (
	maxFranzClientID        = 256
	maxFranzTransactionalID = 16382
)

// Publisher returns what the file says of Kafka in the form that clients take, with the secrets read from their
// files at this moment, so that rotated ones are picked up by the next connection. MessageTimeout, the limits on
// what is in flight and the log are for the caller to set. The error names the key of the file that cannot be read.
func (k Kafka) Publisher() (publisher.Config, error) {
	password, err := plainOrFile(k.SASL.Password, k.SASL.PasswordFile)
	if err != nil {
		return publisher.Config{}, fmt.Errorf("kafka.sasl.password_file: %w", err)
	}
	clientSecret, err := plainOrFile(k.SASL.ClientSecret, k.SASL.ClientSecretFile)
	if err != nil {
		return publisher.Config{}, fmt.Errorf("kafka.sasl.client_secret_file: %w", err)
	}
	return publisher.Config{
		Brokers:     slices.Clone(k.Brokers),
		ClientID:    k.ClientID,
		Compression: k.Compression,
		TLS:         publisher.TLS(k.TLS),
		SASL: publisher.SASL{
			Mechanism:    k.SASL.Mechanism,
			Username:     k.SASL.Username,
			Password:     password,
			ClientID:     k.SASL.ClientID,
			ClientSecret: clientSecret,
			TokenURL:     k.SASL.TokenURL,
			Scope:        k.SASL.Scope,
		},
		Properties: maps.Clone(k.Properties),
	}, nil
}

// usualPort is Kafka's, for brokers that are named without one.
const usualPort = "9092"

// withPorts adds the usual port to brokers that have none: "kafka-1", "[::1]". An address of IPv6 without brackets stays
// as it is, for its end may be meant as the port.
func withPorts(brokers []string) []string {
	all := slices.Clone(brokers)
	for i, broker := range all {
		bracketed := strings.HasPrefix(broker, "[") && strings.HasSuffix(broker, "]")
		if broker != "" && (bracketed || !strings.Contains(broker, ":")) {
			all[i] = broker + ":" + usualPort
		}
	}
	return all
}

func plainOrFile(plain Secret, file string) (string, error) {
	if file == "" {
		return plain.Reveal(), nil
	}
	return readSecret(file)
}

func validateKafka(cfg *Config, r *report) {
	k := cfg.Kafka
	if len(k.Brokers) == 0 {
		r.fault("kafka.brokers", "is empty; name one broker at least")
	}
	for i, broker := range k.Brokers {
		if reason := hostPort(broker, 1); reason != "" {
			r.fault(fmt.Sprintf("kafka.brokers[%d]", i), `%s; write "host:9092"`, reason)
		}
	}
	if k.ClientID == "" {
		r.fault("kafka.client_id", "is empty; brokers name clients by it in logs and quotas")
	}
	oneOf(r, "kafka.client", k.Client, ClientLibrdkafka, ClientFranz)
	if k.Client == ClientLibrdkafka && !publisher.HasLibrdkafka {
		r.fault("kafka.client", "%q is not in this build, which was made without cgo; use %q, or build with CGO_ENABLED=1 and a C compiler",
			ClientLibrdkafka, ClientFranz)
	}
	oneOf(r, "kafka.compression", k.Compression, "none", "gzip", "lz4", "snappy", "zstd")
	if slices.Contains([]string{"lz4", "snappy", "zstd"}, k.Compression) {
		r.warn("kafka.compression", `kafkajs, and so NestJS, cannot read %s and stops consuming without a word; "gzip" and "none" are read by every client`, k.Compression)
	}
	oneOf(r, "kafka.timestamp", k.Timestamp, TimestampPublished, TimestampCreated)
	if k.TransactionalID != "" && cfg.Outbox.Delivery == AtLeastOnce {
		r.warn("kafka.transactional_id", "has no effect with outbox.delivery = %q", AtLeastOnce)
	}
	if reason := topicName(k.ProgressTopic); reason != "" {
		r.fault("kafka.progress_topic", "%q: %s", k.ProgressTopic, reason)
	}
	if k.Client == ClientFranz {
		shorter(r, "kafka.client_id", k.ClientID, maxFranzClientID)
		shorter(r, "kafka.transactional_id", k.TransactionalID, maxFranzTransactionalID)
	}
	validateTLS(k.TLS, r)
	validateSASL(k.SASL, r)
	if mechanism := k.SASL.Mechanism; (mechanism == saslPlain || mechanism == saslOAuthBearer) && !k.TLS.Enabled {
		for _, broker := range k.Brokers {
			if host, _, err := net.SplitHostPort(broker); err == nil && !isLocal(host) {
				r.warn("kafka.sasl.mechanism", "%s without TLS sends the secret to %s in clear; set kafka.tls.enabled = true", mechanism, host)
				break
			}
		}
	}
	validateProperties(k, r)
	if cfg.Outbox.Delivery == ExactlyOnce && k.Client != ClientFranz {
		for name, value := range k.Properties {
			if why := publisher.RefusedInTransactions(name, value); why != "" {
				r.fault("kafka.properties."+name, "is refused with outbox.delivery = %q: %s", ExactlyOnce, why)
			}
		}
	}
}

func shorter(r *report, key, value string, most int) {
	if len(value) > most {
		r.fault(key, "has %d bytes, and %s takes %d", len(value), ClientFranz, most)
	}
}

// validateProperties asks about one property at a time, so that each complaint gets the line of its own property.
func validateProperties(k Kafka, r *report) {
	check := publisher.CheckProperties
	if k.Client == ClientFranz {
		check = func(properties map[string]string) []error {
			_, errs := publisher.ParseTuning(properties)
			return errs
		}
	}
	for _, name := range slices.Sorted(maps.Keys(k.Properties)) {
		for _, err := range check(map[string]string{name: k.Properties[name]}) {
			r.fault("kafka.properties."+name, "%s", strings.TrimPrefix(err.Error(), "kafka.properties: "+name+" "))
		}
	}
}

// askClient adds what the chosen client does not take.
func askClient(cfg *Config, o options, r *report) {
	if o.ask == nil {
		return
	}
	sound := !slices.ContainsFunc(r.faults, func(f Fault) bool {
		table, _, _ := strings.Cut(f.Key, ".")
		return table == "kafka" || table == "outbox" || table == "lease"
	})
	for _, f := range o.ask(cfg, sound) {
		r.fault(f.Key, "%s", f.Reason)
	}
}

func validateTLS(t TLS, r *report) {
	files := []struct{ key, path string }{
		{"kafka.tls.ca_file", t.CAFile},
		{"kafka.tls.cert_file", t.CertFile},
		{"kafka.tls.key_file", t.KeyFile},
		{"kafka.tls.key_password_file", t.KeyPasswordFile},
	}
	for _, f := range files {
		if f.path == "" {
			continue
		}
		if !t.Enabled {
			r.fault(f.key, "has no effect without kafka.tls.enabled = true")
			continue
		}
		content, err := os.ReadFile(f.path)
		if err != nil {
			r.fault(f.key, "read %s: %s", f.path, withoutPath(err))
			continue
		}
		if block, _ := pem.Decode(content); block == nil && f.key != "kafka.tls.key_password_file" {
			r.fault(f.key, "%s is not PEM: -----BEGIN … is missing", f.path)
		}
	}
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		r.fault("kafka.tls.cert_file", "needs kafka.tls.key_file")
	case t.KeyFile != "" && t.CertFile == "":
		r.fault("kafka.tls.key_file", "needs kafka.tls.cert_file")
	}
	if t.KeyPasswordFile != "" && t.KeyFile == "" {
		r.fault("kafka.tls.key_password_file", "needs kafka.tls.key_file")
	}
}

// validateSASL knows which keys belong to which mechanism. One that has no effect is a fault: whoever wrote it
// believes in a login that does not happen.
func validateSASL(s SASL, r *report) {
	const prefix = "kafka.sasl."
	oneOf(r, prefix+"mechanism", s.Mechanism, "", saslPlain, saslScram256, saslScram512, saslOAuthBearer)
	if r.faulty(prefix + "mechanism") {
		return
	}
	user := map[string]bool{"username": s.Username != "", "password": s.Password != "", "password_file": s.PasswordFile != ""}
	oauth := map[string]bool{
		"client_id": s.ClientID != "", "client_secret": s.ClientSecret != "", "client_secret_file": s.ClientSecretFile != "",
		"token_url": s.TokenURL != "", "scope": s.Scope != "",
	}
	switch s.Mechanism {
	case "":
		for _, name := range slices.Sorted(maps.Keys(merged(user, oauth))) {
			r.fault(prefix+name, "has no effect without kafka.sasl.mechanism")
		}
	case saslOAuthBearer:
		refuse(r, user, s.Mechanism)
		require(r, oauth, s.Mechanism, "client_id", "token_url")
		oneSecret(r, oauth, s.Mechanism, "client_secret", s.ClientSecretFile)
		if reason := tokenURL(s.TokenURL); s.TokenURL != "" && reason != "" {
			r.fault(prefix+"token_url", "%s", reason)
		}
	default:
		refuse(r, oauth, s.Mechanism)
		require(r, user, s.Mechanism, "username")
		oneSecret(r, user, s.Mechanism, "password", s.PasswordFile)
	}
}

func merged(a, b map[string]bool) map[string]bool {
	all := map[string]bool{}
	for _, m := range []map[string]bool{a, b} {
		for name, set := range m {
			if set {
				all[name] = true
			}
		}
	}
	return all
}

func refuse(r *report, keys map[string]bool, mechanism string) {
	for _, name := range slices.Sorted(maps.Keys(merged(keys, nil))) {
		r.fault("kafka.sasl."+name, "has no effect with mechanism %s", mechanism)
	}
}

func require(r *report, keys map[string]bool, mechanism string, names ...string) {
	for _, name := range names {
		if !keys[name] {
			r.fault("kafka.sasl."+name, "is not set; mechanism %s needs it", mechanism)
		}
	}
}

// oneSecret wants either the secret or its file, and the file readable.
func oneSecret(r *report, keys map[string]bool, mechanism, name, file string) {
	plain, inFile := "kafka.sasl."+name, "kafka.sasl."+name+"_file"
	switch {
	case keys[name] && keys[name+"_file"]:
		r.fault(inFile, "excludes %s; %s", plain, r.emptyOne(plain, inFile))
	case keys[name+"_file"]:
		if _, err := readSecret(file); err != nil {
			r.fault(inFile, "%s", err)
		}
	case !keys[name]:
		r.fault(inFile, "is not set; mechanism %s needs it (or %s)", mechanism, EnvName(plain))
	}
}

// tokenURL says what is wrong with the place that tokens come from, or "". The URL may carry a secret by mistake,
// so it is not repeated.
func tokenURL(value string) string {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Host == "":
		return "is not a URL"
	case u.User != nil:
		return "contains a user or password; those belong into client_id and client_secret_file"
	case u.Scheme == "https" || (u.Scheme == "http" && isLocal(u.Hostname())):
		return ""
	}
	return "must begin with https://: the client secret is sent there"
}

// verifies says whether a TLS configuration checks who the server is: by its own rules or by the callback that
// stands in for sslmode=verify-ca.
func verifies(c *tls.Config) bool {
	return !c.InsecureSkipVerify || c.VerifyPeerCertificate != nil
}
