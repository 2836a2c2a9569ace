package figures

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Measure is something that runs have a value of.
type Measure struct {
	Key   string // in Run.Values
	Title string
	Unit  string
	Short string // the head of its column
	Form  string // for fmt
}

// Measures are all, in the order of their columns.
var Measures = []Measure{
	{"events_per_second", "rate", "events/s", "events/s", "%.0f"},
	{"megabytes_per_second", "payload", "MB/s", "MB/s", "%.0f"},
	{"system_cpu_us", "CPU of the system", "µs/event", "CPU µs", "%.1f"},
	{"postgres_cpu_us", "CPU of PostgreSQL", "µs/event", "PG µs", "%.1f"},
	{"broker_cpu_us", "CPU of Kafka", "µs/event", "Kafka µs", "%.1f"},
	{"peak_mib", "most memory", "MiB", "RSS MiB", "%.0f"},
	{"wal_bytes", "write-ahead log for delivery", "bytes/event", "WAL B", "%.2f"},
	{"dead_tuples", "dead tuples in the table", "", "dead", "%.0f"},
	{"slots_emptied", "slots of the ring emptied", "", "emptied", "%.0f"},
	{"table_most_mib", "table of events, the most", "MiB", "table MiB", "%.0f"},
	{"table_promised_mib", "what retention promises at most", "MiB", "promised MiB", "%.0f"},
	{"table_left_mib", "table of events, at the end", "MiB", "left MiB", "%.1f"},
	{"table_all_mib", "what all events would take", "MiB", "all MiB", "%.0f"},
	{"p50_ms", "commit to consumer, half", "ms", "p50 ms", "%.2f"},
	{"p99_ms", "commit to consumer, 99 of 100", "ms", "p99 ms", "%.2f"},
	{"max_ms", "commit to consumer, the worst", "ms", "max ms", "%.1f"},
	{"floor_ms", "the floor of p50", "ms", "floor ms", "%.2f"},
	{"behind_ms", "writers behind their plan, 99 of 100", "ms", "behind ms", "%.1f"},
	{"system_idle_percent", "idle, the system", "% of a core", "idle %", "%.2f"},
	{"postgres_idle_percent", "idle, PostgreSQL", "% of a core", "PG idle %", "%.2f"},
	{"late_ms", "the proxy after its time, 99 of 100", "ms", "late ms", "%.2f"},
	{"trip_ms", "there and back, half", "ms", "trip ms", "%.2f"},
	{"late_trip_ms", "there and back, 95 of 100", "ms", "p95 ms", "%.2f"},
	{"inserts_per_second", "inserts", "transactions/s", "inserts/s", "%.0f"},
	{"killed_seconds", "take-over after kill -9", "s", "kill s", "%.2f"},
	{"stopped_seconds", "take-over after SIGTERM", "s", "stop s", "%.2f"},
	{"copies", "copies", "", "copies", "%.0f"},
}

// Mark stands behind a figure that was taken while others used the machine.
const Mark = "!"

// Text of a figure.
func (m Measure) Text(f Figure) string {
	if !f.Known {
		return "–"
	}
	text := fmt.Sprintf(m.Form, f.Value)
	if f.Busy {
		text += Mark
	}
	return text
}

// Ratios that the goals are about: a measure of a run by that of its yardstick.
type ratio struct {
	what, measure        string
	workload, system     string
	toWorkload, toSystem string
}

// ratios are those that runs of the report can have.
func (r *Report) ratios() (all []ratio) {
	for _, client := range []string{"librdkafka", "franz-go"} {
		relay, exactly := "relay-"+client, "relay-"+client+"-exactly"
		for _, yardstick := range []string{"debezium", "debezium-tuned", "poller", "bare-" + client} {
			all = append(all, ratio{"drain against " + yardstick, "events_per_second", "drain", relay, "drain", yardstick})
		}
		all = append(all,
			ratio{"exactly once against at least once", "events_per_second", "drain", exactly, "drain", relay},
			ratio{"exactly once against debezium-tuned-exactly", "events_per_second", "drain", exactly, "drain", "debezium-tuned-exactly"},
			ratio{"hot key against the plain drain", "events_per_second", "hot-key", relay, "drain", relay},
			ratio{"one transaction against the plain drain", "events_per_second", "one-transaction", relay, "drain", relay},
		)
	}
	for _, wake := range []string{"off", "polling", "listening"} {
		all = append(all, ratio{"inserts against a bare table, relay " + wake, "inserts_per_second", "writers", "outbox, relay " + wake, "writers", "bare table"})
	}
	return all
}

// Table writes what the report says, for a terminal. A pipe-delimited head makes it a Markdown table, too.
func (r *Report) Table(out io.Writer) {
	for _, workload := range r.Workloads() {
		fmt.Fprintf(out, "\n%s\n\n", workload)
		grid(out, r.Grid(workload))
	}
	if rows := r.RatioGrid(); len(rows) > 1 {
		fmt.Fprintf(out, "\nratios (medians of the ratios within each round)\n\n")
		grid(out, rows)
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(out, "skipped: %s: %s\n", s.System, s.Why)
	}
	for _, run := range r.Faults() {
		fmt.Fprintf(out, "FAILED: %s, %s, round %d: %s\n", run.Workload, run.System, run.Round, run.Fault)
	}
	if busy := r.BusyRuns(); busy > 0 {
		fmt.Fprintf(out, "%d of %d runs were disturbed: others took over %.0f %% of the machine. Figures with %q come from such runs only\n",
			busy, len(r.Runs), 100*MostOthers, Mark)
	}
}

// BusyRuns counts the runs that were disturbed.
func (r *Report) BusyRuns() (n int) {
	for _, run := range r.Runs {
		if run.Busy() {
			n++
		}
	}
	return n
}

// Grid is a workload's figures: a head, then a row a system.
func (r *Report) Grid(workload string) [][]string {
	systems := r.Systems(workload)
	var columns []Measure
	for _, m := range Measures {
		if slices.ContainsFunc(systems, func(s string) bool { return r.Median(workload, s, m.Key).Known }) {
			columns = append(columns, m)
		}
	}
	head := []string{"system"}
	for _, m := range columns {
		head = append(head, m.Short)
	}
	rows := [][]string{append(head, "runs")}
	for _, s := range systems {
		row := []string{s}
		for _, m := range columns {
			row = append(row, m.Text(r.Median(workload, s, m.Key)))
		}
		rows = append(rows, append(row, fmt.Sprint(len(r.of(workload, s)))))
	}
	return rows
}

// RatioGrid is the ratios that there are: a head, then a row each.
func (r *Report) RatioGrid() [][]string {
	rows := [][]string{{"system", "ratio", "", "rounds"}}
	for _, q := range r.ratios() {
		f := r.Ratio(q.measure, q.workload, q.system, q.toWorkload, q.toSystem)
		if f.Known {
			rows = append(rows, []string{q.system, q.what, Measure{Form: "%.2f"}.Text(f), fmt.Sprint(f.Of)})
		}
	}
	return rows
}

func grid(out io.Writer, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i == 0 {
				line.WriteString("  " + cell + pad)
			} else {
				line.WriteString("  " + pad + cell)
			}
		}
		fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
}
