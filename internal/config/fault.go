package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong (or, as a warning, unwise) and where it was written.
type Fault struct {
	File   string `json:"file,omitempty"` // "" when the fault is not in a file
	Line   int    `json:"line,omitempty"` // from 1; 0 when no line can be named
	Env    string `json:"env,omitempty"`  // the environment variable, when the value came from there
	Key    string `json:"key,omitempty"`  // the path of the key, as in lease.ttl
	Reason string `json:"reason"`         // what is wrong and the cure; never a secret
}

// String is `file:line: key: reason`, with the variable's name in the place of the file when the value came from
// the environment.
func (f Fault) String() string {
	place := f.File
	switch {
	case f.Env != "":
		place = "environment " + f.Env
	case f.Line > 0:
		place = fmt.Sprintf("%s:%d", f.File, f.Line)
	case f.File == "":
		place = "configuration"
	}
	if f.Key == "" {
		return place + ": " + f.Reason
	}
	return place + ": " + f.Key + ": " + f.Reason
}

// Faults is the error of [Load]: all that is wrong, one line each, sorted by place.
type Faults []Fault

// Error is all faults, a line each.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].String()
	}
	return strings.Join(lines, "\n")
}

// origin is where the value of a key was written.
type origin struct {
	line int
	env  string
}

// report collects faults and warnings and knows where each key was written.
type report struct {
	file     string
	origins  map[string]origin
	faults   []Fault
	warnings []Fault
}

// fault reports what is wrong with a key. Only the first reason counts: what else is wrong with a value that could
// not be read follows from that.
func (r *report) fault(key, format string, args ...any) {
	if !r.faulty(key) {
		r.faults = append(r.faults, r.at(key, fmt.Sprintf(format, args...)))
	}
}

func (r *report) warn(key, format string, args ...any) {
	r.warnings = append(r.warnings, r.at(key, fmt.Sprintf(format, args...)))
}

// at places a reason: at the key itself, else at the table or list it belongs to, else at the file.
func (r *report) at(key, reason string) Fault {
	f := Fault{File: r.file, Key: key, Reason: reason}
	for path := key; path != ""; path = parent(path) {
		if o, ok := r.origins[path]; ok {
			if o.env != "" {
				return Fault{Env: o.env, Key: key, Reason: reason}
			}
			f.Line = o.line
			break
		}
	}
	return f
}

// faulty says whether a fault of this very key was reported.
func (r *report) faulty(key string) bool {
	return slices.ContainsFunc(r.faults, func(f Fault) bool { return f.Key == key })
}

func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

func sortFaults(faults []Fault) {
	slices.SortStableFunc(faults, func(a, b Fault) int {
		return cmp.Or(
			cmp.Compare(a.Env, b.Env),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Key, b.Key),
		)
	})
}

// nearest finds the name that was probably meant, or "".
func nearest(name string, candidates []string) string {
	best, bestDistance := "", max(1, len(name)/3)+1
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(name), strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance is the number of letters to insert, remove, change or swap with the next to get from a to b.
func editDistance(a, b string) int {
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, row[j]+1, last[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
