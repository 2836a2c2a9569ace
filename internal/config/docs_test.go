package config

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The examples of docs/configuration.md name files that are on no machine; nothing else may be wrong with them.
func TestDocumentation_ExamplesAreValid(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 5 {
		t.Fatalf("%d examples found", len(blocks))
	}
	for _, block := range blocks {
		_, err := Load(write(t, block[1]), nil, PostgresOptional)
		if err == nil {
			continue
		}
		for line := range strings.Lines(err.Error()) {
			if !strings.Contains(line, "no such file or directory") {
				t.Errorf("%sin\n%s", line, block[1])
			}
		}
	}
}

func TestDocumentation_FaultsAreAsShown(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	document := strings.Repeat("\n", 5) + "[lease]\nttl = \"5s\"\n[kafka]\ncompresion = \"gzip\"\n"
	for line := range strings.SplitSeq(faultsOf(t, document, place, "RELAY_KAFKA_BROKER=a:1"), "\n") {
		if !strings.Contains(string(page), line+"\n") {
			t.Errorf("the page does not show %q", line)
		}
	}
}
