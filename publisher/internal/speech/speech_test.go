package speech

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestVoice_SaysAnEqualLineOnceAMinute(t *testing.T) {
	v := New(slog.New(slog.DiscardHandler))
	begin := time.Now()
	for i, want := range []struct {
		after time.Duration
		held  int
		ok    bool
	}{{0, 0, true}, {time.Second, 0, false}, {59 * time.Second, 0, false}, {61 * time.Second, 2, true}, {62 * time.Second, 0, false}} {
		if held, ok := v.maySpeak("FAIL broker gone", begin.Add(want.after)); held != want.held || ok != want.ok {
			t.Errorf("line %d: held %d, spoken %t; want %d, %t", i, held, ok, want.held, want.ok)
		}
	}
	if strings.Map(dropDigits, "after 12ms in state UP") != "after ms in state UP" {
		t.Error("numbers make lines differ")
	}
}

func TestVoice_KeepsSecrets(t *testing.T) {
	if got := New(slog.New(slog.DiscardHandler), "", "s3cret").Clean("token s3cret"); got != "token [secret]" {
		t.Error(got)
	}
}
