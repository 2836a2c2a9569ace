package journal

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestWriter_KeepsEachLineOfManyGoroutines(t *testing.T) {
	dir := t.TempDir()
	w, err := Create(dir, "x", true)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() { w.Append(Usage{Replica: n}) })
	}
	all.Wait()
	lines, err := Read[Usage](dir, "x") // before Close: what was appended is there
	if err != nil || len(lines) != 20 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir, "x", false); err == nil {
		t.Error("a journal was written over")
	}
}

func TestWriter_TellsAtTheEndThatALineIsMissing(t *testing.T) {
	w, err := Create(t.TempDir(), "x", false)
	if err != nil {
		t.Fatal(err)
	}
	w.Append(func() {}) // no JSON
	w.Append(1)
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "journal x") {
		t.Errorf("error %v, want one that names the journal", err)
	}
}

func TestRead_LeavesOutWhatWasCutOffAndRefusesWhatIsBroken(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), []byte("1\n2\n3"), 0o600); err != nil {
		t.Fatal(err)
	}
	if lines, err := Read[int](dir, "x"); err != nil || len(lines) != 2 {
		t.Errorf("%v, %v, want the two whole lines", lines, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x"), []byte("1\n{\n3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read[int](dir, "x"); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("error %v, want one that names line 2", err)
	}
	if lines, err := Read[int](dir, "none"); err != nil || lines != nil {
		t.Errorf("%v, %v for a journal that is not there", lines, err)
	}
}

func TestSum_TellsApartWhatLooksAlike(t *testing.T) {
	seen := map[uint32]string{}
	for name, sum := range map[string]uint32{
		"plain":           Sum("t", []byte("k"), nil, []byte("p")),
		"no key":          Sum("t", nil, nil, []byte("p")),
		"empty key":       Sum("t", []byte{}, nil, []byte("p")),
		"tombstone":       Sum("t", []byte("k"), nil, nil),
		"empty payload":   Sum("t", []byte("k"), nil, []byte{}),
		"moved border":    Sum("tk", []byte{}, nil, []byte("p")),
		"header":          Sum("t", []byte("k"), []Header{{"a", "b"}}, []byte("p")),
		"other header":    Sum("t", []byte("k"), []Header{{"ab", ""}}, []byte("p")),
		"order of two":    Sum("t", []byte("k"), []Header{{"a", "b"}, {"c", "d"}}, []byte("p")),
		"the other order": Sum("t", []byte("k"), []Header{{"c", "d"}, {"a", "b"}}, []byte("p")),
	} {
		if other, twice := seen[sum]; twice {
			t.Errorf("%s and %s have the same sum", name, other)
		}
		seen[sum] = name
	}
}
