package ops

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

type password string

func (password) LogValue() slog.Value { return slog.StringValue("***") }

func newLogger(t *testing.T, opts LogOptions) (*slog.Logger, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	log, err := NewLogger(&out, opts)
	if err != nil {
		t.Fatal(err)
	}
	return log, &out
}

func TestNewLogger_JSONIsOneObjectALine(t *testing.T) {
	log, out := newLogger(t, LogOptions{Level: "info", Format: FormatAuto})
	log = log.With("name", "main", "ttl", 15*time.Second)
	log.Debug("not this")
	log.Info("lease taken", "epoch", 7, "took", 1500*time.Millisecond, "password", password("kanarienvogel"))
	log.Error("settle", "err", errors.New("fenced"))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines: %s", len(lines), out)
	}
	var first map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"level": "info", "message": "lease taken", "name": "main", "ttl": "15s", "epoch": 7.0, "took": "1.5s", "password": "***",
	} {
		if first[key] != want {
			t.Errorf("%s = %v, wanted %v in %s", key, first[key], want, lines[0])
		}
	}
	at, err := time.Parse(time.RFC3339Nano, first["time"].(string))
	if err != nil || time.Since(at) > time.Minute || !strings.HasSuffix(first["time"].(string), "Z") {
		t.Errorf("time %v: %v", first["time"], err)
	}
	if strings.Count(lines[0], `"time"`) != 1 || !strings.Contains(lines[1], `"err":"fenced"`) {
		t.Error(out)
	}
}

func TestNewLogger_ConsoleIsForPeople(t *testing.T) {
	log, out := newLogger(t, LogOptions{Level: "debug", Format: FormatAuto, Terminal: true})
	log.Warn("broker away", "broker", "a:9092")
	if got := out.String(); strings.Contains(got, "{") || strings.Contains(got, "\x1b") ||
		!strings.Contains(got, "WRN broker away broker=a:9092") {
		t.Errorf("%q", got)
	}
	log, out = newLogger(t, LogOptions{Level: "debug", Format: FormatConsole, Color: true})
	log.Warn("broker away")
	if !strings.Contains(out.String(), "\x1b[") {
		t.Errorf("no colour in %q", out)
	}
}

func TestNewLogger_RefusesWhatItDoesNotKnow(t *testing.T) {
	for _, opts := range []LogOptions{{Level: "loud", Format: "json"}, {Level: "", Format: "json"}, {Level: "info", Format: "xml"}} {
		if _, err := NewLogger(&bytes.Buffer{}, opts); err == nil {
			t.Errorf("%+v was accepted", opts)
		}
	}
}
