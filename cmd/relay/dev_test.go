package main

import (
	"strings"
	"testing"
)

// Somebody gives a file and wonders why none of it is so. The flag is everywhere, so it is taken and they are told.
func TestDev_SaysThatItReadsNoConfiguration(t *testing.T) {
	_, conn := emptyDatabase(t)
	_, b := broker(t, map[string]int32{"orders": 1})
	args := []string{"dev", "--postgres", conn.Config().ConnString(), "--brokers", strings.Join(b.Brokers(), ","), "--events", "1"}
	if r := runRelay(t, nil, args...); r.code != exitDone || strings.Contains(r.errors, "configuration") {
		t.Errorf("without: %+v", r)
	}
	file := writeFile(t, "relay.toml", "this = is no configuration")
	r := runRelay(t, nil, append(args, "--config", file)...)
	if r.code != exitDone || !strings.Contains(r.errors, "relay dev reads no configuration") || !strings.Contains(r.errors, file) {
		t.Errorf("with one: %+v", r)
	}
}
