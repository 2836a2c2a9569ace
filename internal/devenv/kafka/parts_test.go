package kafka

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// fakeMaven puts an mvn on PATH that writes one jar and notes each run.
func fakeMaven(t *testing.T, script string) (runs func() int) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", "")
	bin := t.TempDir()
	note := filepath.Join(bin, "runs")
	script = "#!/bin/sh\necho run >>" + note + "\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(bin, "mvn"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	return func() int {
		text, _ := os.ReadFile(note)
		return strings.Count(string(text), "run")
	}
}

const writeJar = `for a; do case $a in -DoutputDirectory=*) echo jar >"${a#*=}/one.jar";; esac; done`

func TestJars_AreDownloadedOnceHoweverManyAsk(t *testing.T) {
	runs := fakeMaven(t, "sleep 0.2\n"+writeJar)
	var wait sync.WaitGroup
	for range 5 {
		wait.Go(func() {
			jars, err := Jars(t.Context(), nil)
			if err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(jars, "one.jar")); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if runs() != 1 {
		t.Errorf("Maven ran %d times, want once", runs())
	}
}

func TestJars_AHalfDownloadIsNotTakenForOne(t *testing.T) {
	runs := fakeMaven(t, writeJar+"\n[ -e $HOME/again ] || { echo no such artifact; exit 1; }")
	if jars, err := Jars(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "no such artifact") {
		t.Fatalf("jars %q, error %v, want Maven's words", jars, err)
	}
	if err := os.WriteFile(filepath.Join(os.Getenv("HOME"), "again"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if _, err := Jars(t.Context(), &said); err != nil || runs() != 2 {
		t.Errorf("the next try: %v after %d runs", err, runs())
	}
	if !strings.Contains(said.String(), "downloading") {
		t.Errorf("progress %q", said.String())
	}
}

func TestJars_NameWhatIsMissing(t *testing.T) {
	fakeMaven(t, "")
	t.Setenv("PATH", t.TempDir())
	if _, err := Jars(t.Context(), nil); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("without Maven: %v, want ErrNotInstalled", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Jars(ctx, nil); err == nil {
		t.Error("a cancelled download succeeded")
	}
}

func TestClusterID_IsKeptAndNeverAnOption(t *testing.T) {
	for range 200 {
		dir := t.TempDir()
		id, err := clusterID(dir)
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := base64.RawURLEncoding.DecodeString(id); err != nil || len(raw) != 16 || id[0] == '-' {
			t.Fatalf("id %q: %v", id, err)
		}
		if again, err := clusterID(dir); err != nil || again != id {
			t.Fatalf("id %q, then %q: %v", id, again, err)
		}
	}
}

func TestParseMetadata(t *testing.T) {
	answer := "\x00\x00\x00\x07" + // correlation id
		"\x00\x00\x00\x02" + // brokers
		"\x00\x00\x00\x01\x00\x01a\x00\x00\x23\x84\xff\xff" + // id 1, host a, port 9092, no rack
		"\x00\x00\x00\x02\x00\x01b\x00\x00\x23\x85\x00\x01r" + // id 2, host b, port 9093, rack r
		"\x00\x02id" + "\x00\x00\x00\x01\x00\x00\x00\x00" // cluster id, controller, no topics
	d, err := parseMetadata([]byte(answer))
	if err != nil || d.clusterID != "id" || len(d.ports) != 2 || d.ports[0] != 9092 || d.ports[1] != 9093 {
		t.Errorf("%+v, %v", d, err)
	}
	for n := range len(answer) - 8 { // all that is read
		if d, err := parseMetadata([]byte(answer[:n])); err == nil {
			t.Errorf("the first %d bytes were read as %+v", n, d)
		}
	}
	if _, err := parseMetadata([]byte("\x00\x00\x00\x08" + answer[4:])); err == nil {
		t.Error("an answer to another question was taken")
	}
}

func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x07\x7f\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if d, err := parseMetadata(body); err == nil && len(d.ports) > len(body) {
			t.Errorf("%d brokers in %d bytes", len(d.ports), len(body))
		}
	})
}
