package config

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestLoad_NamesThePropertyThatTheChosenClientDoesNotTake(t *testing.T) {
	const properties = "[kafka.properties]\n\"linger.ms\" = \"soon\"\n\"acks\" = \"1\"\n\"batch.size\" = \"100000\"\n\"socket.timeout.ms\" = \"10000\"\n"
	path := write(t, "[kafka]\nclient = \"franz-go\"\n"+properties)
	_, err := Load(path, []string{place})
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	want := []string{
		`relay.toml:4: kafka.properties.linger.ms: is refused: "soon" is not a number of milliseconds`,
		`relay.toml:5: kafka.properties.acks: is refused: always all`,
		`relay.toml:6: kafka.properties.batch.size: is refused: with franz-go a batch ends at the topic's own max.message.bytes`,
	}
	got := strings.Split(strings.ReplaceAll(err.Error(), filepath.Dir(path)+"/", ""), "\n")
	for _, one := range want {
		found := false
		for _, line := range got {
			found = found || strings.Contains(line, one)
		}
		if !found {
			t.Errorf("no line says %q: %q", one, got)
		}
	}
	if n := strings.Count(err.Error(), "kafka.properties."); n != len(want) {
		t.Errorf("%d properties are refused, want %d: %v", n, len(want), err)
	}
}
