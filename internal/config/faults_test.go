package config

import (
	"strings"
	"testing"
)

func TestLoad_NamesEachFaultWithItsPlace(t *testing.T) {
	tests := []struct {
		name     string
		document string
		env      []string
		want     []string
	}{
		{
			name:     "all faults at once, in the order of the file",
			document: "[lease]\nttl = \"1s\"\n[log]\nlevel = \"infoo\"\nformat = 3\n[kafka]\nbrokers = \"a:1\"\ncompresion = \"gzip\"\n",
			env:      []string{place},
			want: []string{
				`relay.toml:2: lease.ttl: 1s is not between 15s and 10m`,
				`relay.toml:4: log.level: "infoo" is not one of "debug", "info", "warn", "error"; did you mean "info"?`,
				`relay.toml:5: log.format: is a number; a string is wanted`,
				`relay.toml:7: kafka.brokers: is a string; a list of strings is wanted: ["…"]`,
				`relay.toml:8: kafka.compresion: unknown key; did you mean kafka.compression?`,
			},
		},
		{
			name:     "not TOML",
			document: "[log]\nlevel = \"info\n",
			env:      []string{place},
			want:     []string{`relay.toml:2: basic strings cannot have new lines`},
		},
		{
			name:     "a schema that search_path takes for another",
			document: "[outbox]\nschema = \"$user\"\n",
			env:      []string{place},
			want:     []string{`relay.toml:2: outbox.schema: search_path takes this for the role's name, quoted or not; choose another name`},
		},
		{
			name: "an address in the quotes that docker --env-file leaves, which pgx would take for a setting",
			env:  []string{`RELAY_POSTGRES_URL="postgres://relay:pw@host/app?sslmode=require"`},
			want: []string{`environment RELAY_POSTGRES_URL: postgres.url: is not a connection string: write postgres://user:password@host:5432/database or host=… dbname=…; in a URL, the characters @ : / ? # % of a password are %40 %3A %2F %3F %23 %25`},
		},
		{
			name:     "a list that a variable overrides is judged as the variable has it",
			document: "[kafka]\nbrokers = [\"a:1\", \"b:1\"]\n[topics]\nallow = [1]\n",
			env:      []string{place, "RELAY_KAFKA_BROKERS=a:1,::1", "RELAY_TOPICS_ALLOW=*"},
			want:     []string{`environment RELAY_KAFKA_BROKERS: kafka.brokers[1]: is not host:port; write "host:9092"`},
		},
		{
			name:     "a key written twice",
			document: "[log]\nlevel = \"info\"\nlevel = \"warn\"\n",
			env:      []string{place},
			want:     []string{`relay.toml:3: key level is already defined`},
		},
		{
			name:     "an unknown table, and a key of another table",
			document: "[kafak]\nbrokers = []\n[outbox]\nttl = \"15s\"\n[metrics]\nlisten = \"\"\n",
			env:      []string{place},
			want: []string{
				`relay.toml:1: kafak: unknown key; did you mean kafka?`,
				`relay.toml:4: outbox.ttl: unknown key; did you mean lease.ttl?`,
				`relay.toml:5: metrics: unknown table; there are audit, console, headers, http, kafka, lease, log, outbox, parked, poll, postgres, retention, topics, tracing`,
			},
		},
		{
			name:     "traces that go nowhere",
			document: "[tracing]\nendpoint = \"collector:4317\"\nmax_spans_per_second = 0\n",
			env:      []string{place, "RELAY_TRACING_MAX_SPANS_PER_SECOND=many"},
			want: []string{
				`relay.toml:2: tracing.endpoint: is not a URL such as http://localhost:4318`,
				`environment RELAY_TRACING_MAX_SPANS_PER_SECOND: tracing.max_spans_per_second: a whole number is wanted`,
			},
		},
		{
			name: "names that franz-go makes no client with",
			document: "[kafka]\nclient = \"franz-go\"\nclient_id = \"" + strings.Repeat("c", 257) + "\"\n" +
				"transactional_id = \"" + strings.Repeat("t", 16383) + "\"\n[outbox]\ndelivery = \"exactly_once\"\n",
			env: []string{place},
			want: []string{
				`relay.toml:3: kafka.client_id: has 257 bytes, and franz-go takes 256`,
				`relay.toml:4: kafka.transactional_id: has 16383 bytes, and franz-go takes 16382`,
			},
		},
		{
			name: "what transactions cannot do with",
			document: "[outbox]\ndelivery = \"exactly_once\"\n[kafka]\nprogress_topic = \"no such name\"\n[kafka.properties]\n" +
				"\"retry.backoff.ms\" = \"100\"\n",
			env: []string{place},
			want: []string{
				`relay.toml:4: kafka.progress_topic: "no such name"`,
				`relay.toml:6: kafka.properties.retry.backoff.ms: is refused with outbox.delivery = "exactly_once": how long a commit took tells whether it was sent twice`,
			},
		},
		{
			name:     "numbers without a unit",
			document: "[lease]\nttl = 30\n[outbox]\nmax_in_flight = 33554432\ndrain_timeout = \"20\"\n[poll]\nmin_interval = \"-1ms\"\n",
			env:      []string{place},
			want: []string{
				`relay.toml:2: lease.ttl: is a number; write it as a string with its unit, such as "30s"`,
				`relay.toml:4: outbox.max_in_flight: is a number; write it as a string with its unit, such as "32MiB"`,
				`relay.toml:5: outbox.drain_timeout: is not a duration: write a number with its unit, such as "250ms", "30s" or "1h"`,
				`relay.toml:7: poll.min_interval: is negative`,
			},
		},
		{
			name:     "zero is a value, not the default",
			document: "[poll]\nmin_interval = \"0s\"\n[outbox]\nmax_in_flight = \"0B\"\nname = \"\"\n[kafka]\nbrokers = []\nclient_id = \"\"\n[retention]\nschedule = \"\"\n",
			env:      []string{place},
			want: []string{
				`relay.toml:2: poll.min_interval: 0s is not between 1ms and 1m`,
				`relay.toml:4: outbox.max_in_flight: 0B is not between 1MiB and 4GiB`,
				`relay.toml:5: outbox.name: is empty`,
				`relay.toml:7: kafka.brokers: is empty; name one broker at least`,
				`relay.toml:8: kafka.client_id: is empty; brokers name clients by it in logs and quotas`,
				`relay.toml:10: retention.schedule: is not a cron expression of five fields (minute hour day month weekday) such as "*/10 * * * *": empty spec string`,
			},
		},
		{
			name:     "two keys that disagree",
			document: "[poll]\nmin_interval = \"1s\"\nmax_interval = \"20ms\"\n[headers]\nid = \"x\"\ntype = \"x\"\n",
			env:      []string{place},
			want: []string{
				`relay.toml:3: poll.max_interval: 20ms is shorter than poll.min_interval, 1s`,
				`relay.toml:6: headers.type: "x" is the name of headers.id as well; consumers could not tell them apart`,
			},
		},
		{
			name:     "elements of lists have lines of their own",
			document: "[kafka]\nbrokers = [\n  \"a:9092\",\n  # a comment\n  \"kafka://b:9092\",\n  7,\n  \"::1\",\n  \"a b\",\n]\n",
			env:      []string{place},
			want: []string{
				`relay.toml:5: kafka.brokers[1]: is a URL; host:port is wanted; write "host:9092"`,
				`relay.toml:6: kafka.brokers[2]: is a number; a string is wanted`,
				`relay.toml:7: kafka.brokers[3]: is not host:port; write "host:9092"`,
				`relay.toml:8: kafka.brokers[4]: the host contains @, / or a space; write "host:9092"`,
			},
		},
		{
			name: "topics to create, in both ways of writing them",
			document: "[topics]\ncreate = [\n  {name = \"a b\", partitions = 1, replication_factor = 1},\n" +
				"  {name = \"ok\", partitions = 0, replication_factor = 0, colour = \"red\"},\n]\n",
			env: []string{place},
			want: []string{
				`relay.toml:3: topics.create[0].name: Kafka's topic names are made of letters, digits, dots, underscores and hyphens`,
				`relay.toml:4: topics.create[1].colour: unknown key; this table has config, name, partitions, replication_factor`,
				`relay.toml:4: topics.create[1].partitions: must be 1 or more`,
				`relay.toml:4: topics.create[1].replication_factor: must be 1 or more, or -1 for the broker's default`,
			},
		},
		{
			name: "tables of topics",
			document: "[[topics.create]]\nname = \"a\"\npartitions = 1\nreplication_factor = -1\n" +
				"[[topics.create]]\nname = \"a\"\npartitions = 1\nreplication_factor = 1\n[topics.create.config]\nx = [1]\n",
			env: []string{place},
			want: []string{
				`relay.toml:6: topics.create[1].name: "a" is listed twice`,
				`relay.toml:10: topics.create[1].config.x: is a list; a string is wanted`,
			},
		},
		{
			name:     "a scalar where a table belongs",
			document: "postgres = \"postgres://x\"\n[kafka]\ntls = true\nproperties = 1\n",
			env:      []string{place},
			want: []string{
				`relay.toml:1: postgres: is a string; a table is wanted: write [postgres] and its keys below it`,
				`relay.toml:3: kafka.tls: is true or false; a table is wanted: write [kafka.tls] and its keys below it`,
				`relay.toml:4: kafka.properties: is a number; a table is wanted: write [kafka.properties] and its keys below it`,
			},
		},
		{
			name:     "properties that would break delivery, quoted or not",
			document: "[kafka.properties]\n\"linger.ms\" = \"5\"\nacks = 1\nenable.idempotence = false\n",
			env:      []string{place},
			want: []string{
				`relay.toml:3: kafka.properties.acks: is refused: always all`,
				`relay.toml:4: kafka.properties.enable.idempotence: is refused: always on`,
			},
		},
		{
			name:     "a database is needed",
			document: "",
			want: []string{
				`relay.toml: postgres.url: is not set, so the database is unknown: set postgres.url, postgres.url_file, RELAY_POSTGRES_URL, or the PG* variables of libpq`,
			},
		},
		{
			name:     "a URL and a file for it",
			document: "[postgres]\nurl = \"postgres://localhost/a\"\nurl_file = \"/nowhere\"\n",
			want:     []string{`relay.toml:3: postgres.url_file: excludes postgres.url; keep one of them`},
		},
		{
			name:     "a file and a URL in the environment",
			document: "",
			env:      []string{place, "RELAY_POSTGRES_URL_FILE=/nowhere"},
			want: []string{
				`environment RELAY_POSTGRES_URL_FILE: postgres.url_file: excludes postgres.url; keep one: unset RELAY_POSTGRES_URL, or empty the other with RELAY_POSTGRES_URL_FILE=`,
			},
		},
		{
			name:     "a password that needs escaping",
			document: "[postgres]\nurl = \"postgres://relay:pa/ss@word@localhost:5432/app\"\n",
			want:     []string{`relay.toml:2: postgres.url: is not a connection string: write postgres://user:password@host:5432/database`},
		},
		{
			name:     "a CA that PostgreSQL's URL names and nobody has",
			document: "[postgres]\nurl = \"postgres://relay@localhost/app?sslmode=verify-full&sslrootcert=/nowhere\"\n",
			want:     []string{`relay.toml:2: postgres.url: does not work: unable to read CA file`},
		},
		{
			name:     "variables",
			document: "[lease]\nttl = \"nonsense\"\n",
			env:      []string{place, "RELAY_LEASE_TTL=1s", "RELAY_KAFKA_BROKER=a:1", "RELAY_KAFKA_TLS_ENABLED=maybe", "RELAY_KAFKA_PROPERTIES=a=b", "RELAY_ZZZZZZZZ=1"},
			want: []string{
				`environment RELAY_KAFKA_BROKER: unknown variable; did you mean RELAY_KAFKA_BROKERS?`,
				`environment RELAY_KAFKA_PROPERTIES: kafka.properties: a table cannot be set by a variable; write it into the file`,
				`environment RELAY_KAFKA_TLS_ENABLED: kafka.tls.enabled: true or false is wanted`,
				`environment RELAY_LEASE_TTL: lease.ttl: 1s is not between 15s and 10m`,
				`environment RELAY_ZZZZZZZZ: unknown variable; every key has one: lease.ttl is RELAY_LEASE_TTL`,
			},
		},
		{
			name:     "TLS files without TLS, and without each other",
			document: "[kafka.tls]\nca_file = \"/nowhere\"\ncert_file = \"/nowhere\"\nkey_password_file = \"/nowhere\"\n",
			env:      []string{place},
			want: []string{
				`relay.toml:2: kafka.tls.ca_file: has no effect without kafka.tls.enabled = true`,
				`relay.toml:3: kafka.tls.cert_file: has no effect without kafka.tls.enabled = true`,
				`relay.toml:4: kafka.tls.key_password_file: has no effect without kafka.tls.enabled = true`,
			},
		},
		{
			name:     "a CA file that is not there",
			document: "[kafka.tls]\nenabled = true\nca_file = \"/nowhere/ca.pem\"\n",
			env:      []string{place},
			want:     []string{`relay.toml:3: kafka.tls.ca_file: read /nowhere/ca.pem: no such file or directory`},
		},
		{
			name:     "half a certificate",
			document: "[kafka.tls]\nenabled = true\nkey_file = \"/dev/null\"\nkey_password_file = \"/nowhere\"\n",
			env:      []string{place},
			want: []string{
				`relay.toml:3: kafka.tls.key_file: /dev/null is not PEM: -----BEGIN … is missing`,
				`relay.toml:4: kafka.tls.key_password_file: read /nowhere: no such file or directory`,
			},
		},
		{
			name:     "a login without a mechanism",
			document: "[kafka.sasl]\nusername = \"u\"\npassword = \"p\"\n",
			env:      []string{place},
			want: []string{
				`relay.toml:2: kafka.sasl.username: has no effect without kafka.sasl.mechanism`,
				`relay.toml:3: kafka.sasl.password: has no effect without kafka.sasl.mechanism`,
			},
		},
		{
			name:     "a mechanism without a login",
			document: "[kafka.sasl]\nmechanism = \"SCRAM-SHA-512\"\nscope = \"x\"\n",
			env:      []string{place},
			want: []string{
				`relay.toml:1: kafka.sasl.password_file: is not set; mechanism SCRAM-SHA-512 needs it (or RELAY_KAFKA_SASL_PASSWORD)`,
				`relay.toml:1: kafka.sasl.username: is not set; mechanism SCRAM-SHA-512 needs it`,
				`relay.toml:3: kafka.sasl.scope: has no effect with mechanism SCRAM-SHA-512`,
			},
		},
		{
			name: "tokens",
			document: "[kafka.sasl]\nmechanism = \"OAUTHBEARER\"\nclient_id = \"c\"\nclient_secret = \"s\"\n" +
				"client_secret_file = \"/x\"\ntoken_url = \"http://idp.example.com/token\"\nusername = \"u\"\n",
			env: []string{place},
			want: []string{
				`relay.toml:5: kafka.sasl.client_secret_file: excludes kafka.sasl.client_secret; keep one of them`,
				`relay.toml:6: kafka.sasl.token_url: must begin with https://: the client secret is sent there`,
				`relay.toml:7: kafka.sasl.username: has no effect with mechanism OAUTHBEARER`,
			},
		},
		{
			name:     "a mechanism that is nearly one",
			document: "[kafka.sasl]\nmechanism = \"SCRAM-SHA-521\"\n",
			env:      []string{place},
			want:     []string{`relay.toml:2: kafka.sasl.mechanism: "SCRAM-SHA-521" is not one of "", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"; did you mean "SCRAM-SHA-512"?`},
		},
		{
			name: "names and places",
			document: "[outbox]\nschema = \"pg_outbox\"\nname = \"" + strings.Repeat("n", 64) + "\"\n[topics]\nallow = [\"a*\", \"__*\", \"\"]\n" +
				"[parked]\non_dead = \"hold\"\ndead_letter_topic = \"dead\"\n[http]\nlisten = \"9187\"\n[audit]\nschedule = \"@often\"\n[retention]\nkeep = \"2161h\"\n",
			env: []string{place},
			want: []string{
				`relay.toml:2: outbox.schema: schemas that begin with pg_ belong to PostgreSQL`,
				`relay.toml:3: outbox.name: is longer than 63 bytes`,
				`relay.toml:5: topics.allow[1]: topics that begin with __ belong to Kafka; a * stands for any characters`,
				`relay.toml:5: topics.allow[2]: is empty; a * stands for any characters`,
				`relay.toml:7: parked.on_dead: "hold" is not one of "hold_key", "skip"`,
				`relay.toml:8: parked.dead_letter_topic: topics.allow does not allow "dead"`,
				`relay.toml:10: http.listen: is not host:port; write host:port, or "" to turn it off`,
				`relay.toml:12: audit.schedule: is not a cron expression of five fields (minute hour day month weekday) such as "*/10 * * * *": unrecognized descriptor: @often`,
				`relay.toml:14: retention.keep: 2161h is not between 0s and 2160h`,
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := strings.Split(faultsOf(t, test.document, test.env...), "\n")
			for i := range max(len(got), len(test.want)) {
				if i >= len(got) || i >= len(test.want) || !strings.HasPrefix(got[i], test.want[i]) {
					t.Fatalf("faults\n%s\nwanted\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
				}
			}
		})
	}
}
