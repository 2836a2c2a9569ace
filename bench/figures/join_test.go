package figures

import (
	"strings"
	"testing"
	"time"
)

func part(workload string, began int64) *Report {
	return &Report{Began: time.Unix(began, 0).UTC(), Took: "1m30s", Machine: Machine{CPU: "one", Cores: 2}, Versions: map[string]string{"Go": "1"},
		Settings: map[string]string{workload: "on"}, Runs: []Run{{Workload: workload, System: "relay", Round: 1}}}
}

func TestJoin_KeepsAllRuns(t *testing.T) {
	first, second := part("drain", 100), part("idle", 50)
	first.Settings["wal_level"], second.Settings["wal_level"] = "logical", "replica"
	r, err := Join([]*Report{first, second})
	if err != nil || len(r.Runs) != 2 || r.Took != "3m0s" || r.Began.Unix() != 50 || len(r.Settings) != 3 || r.Settings["wal_level"] != "logical, later replica" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestJoin_RefusesWhatCannotBeCompared(t *testing.T) {
	other, newer := part("idle", 1), part("idle", 1)
	other.Machine.Cores = 64
	newer.Versions["Go"] = "2"
	for why, second := range map[string]*Report{"different machines": other, "different versions of Go": newer, "in two of the reports": part("drain", 1)} {
		if _, err := Join([]*Report{part("drain", 1), second}); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want: %s", err, why)
		}
	}
}
