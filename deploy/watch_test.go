package deploy

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/outboxrelay/relay/internal/ops"
	"github.com/outboxrelay/relay/internal/relay"
)

// scraped are the names of the metrics of a relay to which everything has happened once.
func scraped(t *testing.T) map[string]bool {
	t.Helper()
	server, err := ops.Listen("127.0.0.1:0", ops.Sources{
		Report: func() relay.Report {
			return relay.Report{DeliveredByTopic: map[string]int64{"orders": 1}, SessionEnds: map[string]int64{"postgres": 1},
				PublishErrors: map[string]int64{"cut": 1}, Delivery: relay.Delays{Count: 1, Sum: 1, Native: map[int]int64{0: 1},
					Classic: map[float64]uint64{1: 1}}}
		},
		Outbox: func(context.Context) (ops.Outbox, error) { return ops.Outbox{Parked: map[string]int64{"dead": 1}}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- server.Run(ctx) }()
	defer func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + server.Address() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^([a-z_]+)`).FindAllStringSubmatch(string(body), -1) {
		names[line[1]] = true
	}
	return names
}

// metric is a name that is ours, or one of the process's.
var metric = regexp.MustCompile(`\b(?:relay|process|go)_[a-z_]+\b`)

type rules struct {
	Groups []struct {
		Rules []struct {
			Alert, Expr string
			Annotations map[string]string
		}
	}
}

func readRules(t *testing.T) rules {
	t.Helper()
	var r rules
	readYAML(t, "prometheus/relay.rules.yml", &r)
	return r
}

func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

type dashboard struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	text, err := os.ReadFile("grafana/relay.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestWatch_AsksForMetricsThatExistAndMissesNone(t *testing.T) {
	names := scraped(t)
	if len(names) < 20 {
		t.Fatalf("%d metrics were scraped", len(names))
	}
	used := map[string]bool{}
	look := func(where, expr string) {
		found := metric.FindAllString(expr, -1)
		if len(found) == 0 {
			t.Errorf("%s asks for nothing: %s", where, expr)
		}
		for _, name := range found {
			used[name] = true
			if !names[name] {
				t.Errorf("%s: there is no metric %s", where, name)
			}
		}
	}
	for _, group := range readRules(t).Groups {
		for _, r := range group.Rules {
			look(r.Alert, r.Expr)
		}
	}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			look(p.Title, target.Expr)
		}
	}
	for name := range names {
		if strings.HasPrefix(name, "relay_") && !used[name] && !strings.HasPrefix(name, "relay_delivery_seconds") {
			t.Errorf("neither a panel nor an alert shows %s", name)
		}
	}
}

// promtool gives what Prometheus itself says.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if testing.Short() {
			t.Skip("there is no promtool; make setup brings it")
		}
		t.Fatal("there is no promtool; make setup brings it")
	}
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestRules_FireOnWhatTheyAreForAndOnNothingElse(t *testing.T) {
	var tests struct {
		Tests []struct {
			Name  string
			Cases []struct {
				Alert string `yaml:"alertname"`
				Exp   []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	readYAML(t, "prometheus/relay.rules.test.yml", &tests)
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range tests.Tests {
		for _, c := range test.Cases {
			if len(c.Exp) > 0 {
				fires[c.Alert] = true
			} else {
				silent[c.Alert] = true
			}
		}
	}
	page, err := os.ReadFile("../docs/operations/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range readRules(t).Groups {
		for _, r := range group.Rules {
			if !fires[r.Alert] || !silent[r.Alert] {
				t.Errorf("%s is not tried: fires %v, stays silent %v", r.Alert, fires[r.Alert], silent[r.Alert])
			}
			if r.Annotations["runbook"] != "docs/operations/alerts.md#"+strings.ToLower(r.Alert) || !strings.Contains(string(page), "\n## "+r.Alert+"\n") {
				t.Errorf("%s has no runbook in docs/operations/alerts.md", r.Alert)
			}
		}
	}
	promtool(t, "test", "rules", "prometheus/relay.rules.test.yml")
}

// Prometheus' own parser reads what the dashboard asks, as rules of a file.
func TestDashboard_AsksInPromQL(t *testing.T) {
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var all []rule
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			all = append(all, rule{"panel:x" + string(rune('a'+len(all)%26)) + strings.Repeat("z", len(all)/26), strings.ReplaceAll(target.Expr, "$job", ".*")})
		}
	}
	if len(all) < 15 {
		t.Fatalf("%d questions", len(all))
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": all}}})
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/dashboard.yml"
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}
