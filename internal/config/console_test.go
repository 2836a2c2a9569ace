package config

import (
	"os"
	"strings"
	"testing"
)

func TestConsole_TokenIsLongAndInOnePlace(t *testing.T) {
	long := strings.Repeat("t", minToken)
	for document, want := range map[string]string{
		"[console]\ntoken = \"short\"":                                   "shorter than 16 bytes",
		"[console]\ntoken = \"" + long + "\"\ntoken_file = \"/nowhere\"": "excludes console.token",
		"[console]\ntoken_file = \"/nowhere/token\"":                     "no such file",
		"[console]\ntoken = \"" + long + "\"":                            "",
	} {
		_, err := Load(write(t, document), nil, PostgresOptional)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", document, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), long) || strings.Contains(err.Error(), `"short"`)) {
			t.Errorf("the token is in the fault: %v", err)
		}
	}
	file := write(t, long)
	cfg, err := Load("", []string{"RELAY_CONSOLE_TOKEN_FILE=" + file}, PostgresOptional)
	if err != nil {
		t.Fatal(err)
	}
	if token, err := cfg.Console.Reveal(); token != long || err != nil {
		t.Errorf("%q %v", token, err)
	}
	if err := os.WriteFile(file, []byte(long+"-rotated\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if token, err := cfg.Console.Reveal(); token != long+"-rotated" || err != nil {
		t.Errorf("after a rotation: %q %v", token, err)
	}
}
