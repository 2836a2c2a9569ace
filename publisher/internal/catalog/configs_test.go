package catalog

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outboxrelay/relay/publisher"
)

func TestConfigs_NoRightIsNoDoubtAndDoubtIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked [][]string
		ask := Configs(func(_ context.Context, names []string) (map[string]Config, error) {
			asked = append(asked, names)
			all := map[string]Config{
				"open": {Values: map[string]string{"max.message.bytes": "7"}}, "hidden": {Code: 29}, "shy": {Code: 31}, "simple": {Code: 35}, "strict": {Code: 42},
				"new": {Code: 3}, "odd": {Code: -1},
			}
			if len(asked) > 2 {
				all["new"] = Config{Values: map[string]string{}}
			}
			return all, nil
		})
		began := time.Now()
		known, unread, err := ask.Read(t.Context(), []string{"open", "hidden", "shy", "simple", "strict", "new", "odd", "unanswered"})
		if err != nil || len(known) != 2 || known["open"]["max.message.bytes"] != "7" || known["new"] == nil {
			t.Errorf("%v, %v", known, err)
		}
		for _, name := range []string{"odd", "unanswered"} {
			if class := publisher.Class(unread[name]); class != publisher.ClassUnavailable || publisher.TopicTrouble(unread[name]) {
				t.Errorf("%s: %v", name, unread[name])
			}
		}
		if len(unread) != 2 {
			t.Errorf("%v", unread)
		}
		if !slices.Equal(asked[1], []string{"new", "odd", "unanswered"}) || !slices.Equal(asked[3], []string{"odd", "unanswered"}) {
			t.Errorf("asked for %q", asked)
		}
		if took := time.Since(began); took > readWithin+readPause {
			t.Errorf("it took %v", took)
		}
	})
}

func TestConfigs_EndWithTheCallerAndWithTheCluster(t *testing.T) {
	away := errors.New("away")
	if _, _, err := Configs(func(context.Context, []string) (map[string]Config, error) { return nil, away }).Read(t.Context(), []string{"a"}); !errors.Is(err, away) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, unread, err := Configs(func(context.Context, []string) (map[string]Config, error) { cancel(); return nil, nil }).Read(ctx, []string{"a"})
	if err != nil || unread["a"] == nil {
		t.Errorf("%v, %v", unread, err)
	}
}
