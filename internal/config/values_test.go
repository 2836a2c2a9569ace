package config

import (
	"testing"
	"time"
)

func TestSize_ReadsAndWrites(t *testing.T) {
	for text, want := range map[string]struct {
		bytes int64
		shown string
	}{
		"32MiB": {32 << 20, "32MiB"}, "1 GiB": {1 << 30, "1GiB"}, "1536KiB": {1536 << 10, "1536KiB"}, "0B": {0, "0B"},
		"5MB": {5e6, "5000000B"}, "1024B": {1024, "1KiB"}, "7kB": {7000, "7000B"}, "2GB": {2e9, "1953125KiB"},
	} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if s.Bytes() != want.bytes || s.String() != want.shown {
			t.Errorf("%s is %d bytes, shown as %s; wanted %d, %s", text, s, s, want.bytes, want.shown)
		}
	}
	for _, text := range []string{"", "32", "MiB", "1.5MiB", "-1MiB", "32mib", "9999999999GiB", "1TiB", "0x10B"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %s", text, s)
		}
	}
}

func TestDuration_WritesWhatItReads(t *testing.T) {
	for _, text := range []string{"0s", "1ms", "250ms", "15s", "1m", "1m30s", "1h", "24h", "1h30m", "1h0m5s", "10m", "100h10m"} {
		var d, again Duration
		if err := d.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Errorf("%s is written as %s: %v", text, d, err)
		}
		if d.String() != text {
			t.Errorf("%s is written as %s", text, d)
		}
		if want, _ := time.ParseDuration(text); d.Std() != want {
			t.Errorf("%s is %s", text, d.Std())
		}
	}
}

func TestTopics_Allowed(t *testing.T) {
	tests := []struct {
		allow []string
		topic string
		want  bool
	}{
		{[]string{"*"}, "orders", true},
		{[]string{"*"}, "__consumer_offsets", false},
		{[]string{"orders"}, "orders", true},
		{[]string{"orders"}, "orders2", false},
		{[]string{"orders*"}, "orders", true},
		{[]string{"a", "shop.*"}, "shop.orders", true},
		{[]string{"*.dead"}, "orders.dead", true},
		{[]string{"*.dead"}, "orders.dead.x", false},
		{[]string{"a*b*c"}, "a-b-b-c", true},
		{[]string{"a*b*c"}, "a-c", false},
		{[]string{"ab*ba"}, "aba", false},
		{nil, "orders", false},
	}
	for _, test := range tests {
		if got := (Topics{Allow: test.allow}).Allowed(test.topic); got != test.want {
			t.Errorf("%v allows %s: %t", test.allow, test.topic, got)
		}
	}
}
