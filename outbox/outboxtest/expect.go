package outboxtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/outboxrelay/relay/outbox"
)

// Expect fails the test, and lets it go on, unless tx has written exactly the wanted events, in this order.
//
// A field that a wanted event leaves at its zero value is not compared; nor are headers that it does not name, unless
// Headers is empty and not nil, which wants none. JSON payloads are compared as values: the order of names, spaces and
// the way a number is written do not matter. Times are compared to the microsecond, as they are stored.
//
// No wanted events: tx must have written none.
func (r Reader) Expect(t testing.TB, tx Tx, want ...outbox.Event) {
	t.Helper()
	got := r.Published(t, tx)
	var report strings.Builder
	if len(got) != len(want) {
		fmt.Fprintf(&report, "%d events would be published, want %d\n", len(got), len(want))
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			fmt.Fprintf(&report, "event %d is missing: %s\n", i, describe(want[i]))
		case i >= len(want):
			fmt.Fprintf(&report, "event %d is not wanted: %s\n", i, describe(got[i]))
		default:
			if lines := compare(got[i], want[i]); len(lines) > 0 {
				fmt.Fprintf(&report, "event %d differs:\n%s", i, strings.Join(lines, ""))
			}
		}
	}
	if report.Len() > 0 {
		t.Errorf("outboxtest: %s", report.String())
	}
}

// compare returns a line for each field that the wanted event names and the other has differently.
func compare(got, want outbox.Event) []string {
	var lines []string
	differ := func(field, gotText, wantText string) {
		lines = append(lines, fmt.Sprintf("    %-11s got %s\n    %-11s want %s\n", field, gotText, "", wantText))
	}
	text := func(field, gotText, wantText string) {
		if wantText != "" && gotText != wantText {
			differ(field, fmt.Sprintf("%q", gotText), fmt.Sprintf("%q", wantText))
		}
	}
	text("ID", strings.ToLower(got.ID), strings.ToLower(want.ID))
	text("Topic", got.Topic, want.Topic)
	if (want.Key != "" || want.EmptyKey) && (got.Key != want.Key || got.EmptyKey != want.EmptyKey) {
		differ("Key", showKey(got), showKey(want))
	}
	text("Type", got.Type, want.Type)
	if !want.Payload.IsZero() && !samePayload(got.Payload, want.Payload) {
		differ("Payload", showPayload(got.Payload), showPayload(want.Payload))
	}
	if want.Headers != nil && len(want.Headers) == 0 && len(got.Headers) > 0 {
		differ("Headers", fmt.Sprintf("%q", got.Headers), "none")
	}
	for _, name := range slices.Sorted(maps.Keys(want.Headers)) {
		value, there := got.Headers[name]
		switch {
		case !there:
			differ(fmt.Sprintf("Headers[%q]", name), "no such header", fmt.Sprintf("%q", want.Headers[name]))
		default:
			if value != want.Headers[name] {
				differ(fmt.Sprintf("Headers[%q]", name), fmt.Sprintf("%q", value), fmt.Sprintf("%q", want.Headers[name]))
			}
		}
	}
	if want.Partition != nil && (got.Partition == nil || *got.Partition != *want.Partition) {
		differ("Partition", showPartition(got.Partition), showPartition(want.Partition))
	}
	// The database rounds to the microsecond, so the two may be half of one apart.
	if !want.DeliverAt.IsZero() && got.DeliverAt.Sub(want.DeliverAt).Abs() > 1000 {
		differ("DeliverAt", got.DeliverAt.UTC().String(), want.DeliverAt.UTC().String())
	}
	return lines
}

func samePayload(got, want outbox.Payload) bool {
	if got.IsJSON() && want.IsJSON() {
		return sameJSON(got.Bytes(), want.Bytes())
	}
	return got.IsJSON() == want.IsJSON() && got.IsTombstone() == want.IsTombstone() && bytes.Equal(got.Bytes(), want.Bytes())
}

// sameJSON compares values: 1 and 1.0 and 1e0 are the same, and so are numbers beyond what a float64 tells apart only
// when they are written alike.
func sameJSON(got, want []byte) bool {
	if bytes.Equal(got, want) {
		return true
	}
	var a, b any
	if decode(got, &a) != nil || decode(want, &b) != nil {
		return false
	}
	return reflect.DeepEqual(plain(a), plain(b))
}

func decode(text []byte, into *any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode(into)
}

// plain replaces each number that a float64 holds exactly by that; others stay as they are written.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if f, err := v.Float64(); err == nil && f < 1<<53 && f > -1<<53 {
			return f
		}
		return v
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = plain(v[name])
		}
	}
	return v
}

func describe(e outbox.Event) string {
	parts := []string{"topic " + e.Topic, "key " + showKey(e)}
	if e.Type != "" {
		parts = append(parts, "type "+e.Type)
	}
	return strings.Join(append(parts, "payload "+showPayload(e.Payload)), ", ")
}

func showKey(e outbox.Event) string {
	if e.Key == "" && !e.EmptyKey {
		return "null"
	}
	return fmt.Sprintf("%q", e.Key)
}

// shownBytes keeps a difference in a large payload readable.
const shownBytes = 500

// showPayload shows what a payload's String hides: this is a test's output.
func showPayload(p outbox.Payload) string {
	value, rest := p.Bytes(), ""
	if len(value) > shownBytes {
		rest = fmt.Sprintf("… (%d bytes)", len(value))
		value = value[:shownBytes]
	}
	switch {
	case p.IsJSON():
		return string(value) + rest
	case p.IsZero(), p.IsTombstone():
		return p.String()
	}
	return fmt.Sprintf("binary %x%s", value, rest)
}

func showPartition(n *int32) string {
	if n == nil {
		return "none"
	}
	return fmt.Sprint(*n)
}
