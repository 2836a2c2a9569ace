package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoad_MissingFileIsAFaultOnlyWhenNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := Load("", []string{place}); err != nil {
		t.Errorf("without any file: %v", err)
	}
	_, err := Load("gone.toml", []string{place})
	if err == nil || err.Error() != "gone.toml: there is no such file" {
		t.Errorf("with a file that is not there: %v", err)
	}
	_, err = Load(t.TempDir(), []string{place})
	if err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("with a directory: %v", err)
	}
}

func TestLoad_FindsRelayTomlInTheWorkingDirectory(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile(filepath.Join(dir, "relay.toml"), []byte("[lease]\nttl = \"20s\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load("", []string{place})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Lease.TTL.String() != "20s" || cfg.File() != "relay.toml" {
		t.Errorf("ttl %s from %q", cfg.Lease.TTL, cfg.File())
	}
}

func TestLoad_PostgresIsOptionalForThoseWhoSaySo(t *testing.T) {
	if _, err := Load(write(t, ""), nil, PostgresOptional); err != nil {
		t.Error(err)
	}
	_, err := Load(write(t, "[postgres]\nurl = \"nonsense\"\n"), nil, PostgresOptional)
	if err == nil {
		t.Error("a connection string that cannot work was accepted")
	}
}

func TestLoad_Warns(t *testing.T) {
	tests := []struct{ name, document, want string }{
		{"compression that kafkajs cannot read", "[kafka]\ncompression = \"zstd\"\n", "relay.toml:2: kafka.compression: kafkajs"},
		{"a database away from here without verification", "[postgres]\nurl = \"postgres://u@db.example.com/a\"\n", "relay.toml:2: postgres.url: the connection to db.example.com"},
		{"no id header", "[headers]\nid = \"\"\n", "relay.toml:2: headers.id: "},
		{"nothing allowed", "[topics]\nallow = []\n", "relay.toml:2: topics.allow: no topic is allowed"},
		{"a transactional id without transactions", "[kafka]\ntransactional_id = \"x\"\n", "relay.toml:2: kafka.transactional_id: has no effect"},
		{
			"a password in clear", "[kafka]\nbrokers = [\"k.example.com:9092\"]\n[kafka.sasl]\nmechanism = \"PLAIN\"\nusername = \"u\"\npassword = \"p\"\n",
			"relay.toml:4: kafka.sasl.mechanism: PLAIN without TLS",
		},
		{
			"a topic that is created and held", "[topics]\nallow = [\"a\"]\n[[topics.create]]\nname = \"b\"\npartitions = 1\nreplication_factor = 1\n",
			"relay.toml:4: topics.create[0].name: \"b\" is created",
		},
		{"verified", "[postgres]\nurl = \"postgres://u@db.example.com/a?sslmode=verify-full\"\n", ""},
		{"a socket", "[postgres]\nurl = \"host=/run/postgresql dbname=a\"\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var env []string
			if !strings.Contains(test.document, "[postgres]") {
				env = append(env, place)
			}
			path := write(t, test.document)
			cfg, err := Load(path, env)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range cfg.Warnings() {
				got = append(got, strings.ReplaceAll(w.String(), filepath.Dir(path)+"/", ""))
			}
			if test.want == "" && len(got) == 0 {
				return
			}
			if len(got) != 1 || test.want == "" || !strings.HasPrefix(got[0], test.want) {
				t.Errorf("warnings %q, wanted one that begins with %q", got, test.want)
			}
		})
	}
}
