package figures

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Join makes one report of several, so that workloads may be run one after the other. They have to be of one machine and
// of the same versions; where their settings differ, the report shows both. No workload may be in two of them: rounds of
// different runs are not to be compared.
func Join(all []*Report) (*Report, error) {
	first := all[0]
	joined := &Report{Began: first.Began, Machine: first.Machine, Versions: maps.Clone(first.Versions), Settings: maps.Clone(first.Settings)}
	var took time.Duration
	for _, r := range all {
		if r.Machine != joined.Machine {
			return nil, fmt.Errorf("the reports are of different machines: %+v and %+v", joined.Machine, r.Machine)
		}
		for what, version := range r.Versions {
			if known, ok := joined.Versions[what]; ok && known != version {
				return nil, fmt.Errorf("the reports are of different versions of %s: %s and %s", what, known, version)
			}
			joined.Versions[what] = version
		}
		for what, value := range r.Settings {
			if known, ok := joined.Settings[what]; ok && known != value {
				value = known + ", later " + value
			}
			joined.Settings[what] = value
		}
		for _, workload := range r.Workloads() {
			if slices.Contains(joined.Workloads(), workload) {
				return nil, fmt.Errorf("the workload %s is in two of the reports", workload)
			}
		}
		joined.Runs = append(joined.Runs, r.Runs...)
		for _, s := range r.Skipped {
			if !slices.Contains(joined.Skipped, s) {
				joined.Skipped = append(joined.Skipped, s)
			}
		}
		one, err := time.ParseDuration(r.Took)
		if err != nil {
			return nil, fmt.Errorf("a report says that it took %q", r.Took)
		}
		took += one
		joined.Quick = joined.Quick || r.Quick
		if r.Began.Before(joined.Began) {
			joined.Began = r.Began
		}
	}
	joined.Took = took.String()
	return joined, nil
}
