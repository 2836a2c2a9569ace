package node

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Whoever installs the packages gets nothing of others with them, so there is nothing to audit either.
func TestPackages_DependOnNobodyElse(t *testing.T) {
	text, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct {
			Dependencies, OptionalDependencies map[string]string
		}
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"core", "nestjs"} {
		p, ok := lock.Packages["packages/"+name]
		if !ok {
			t.Fatalf("packages/%s is not in the lock file", name)
		}
		for other := range p.Dependencies {
			if other != "@outboxrelay/core" {
				t.Errorf("%s depends on %s", name, other)
			}
		}
		if len(p.OptionalDependencies) > 0 {
			t.Errorf("%s depends on %v", name, p.OptionalDependencies)
		}
	}
}

// The advisories of npm's registry about what runs: peers that the packages are used with, and the example.
func TestAudit_KnowsNoVulnerabilityInWhatRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("asks the registry: not with -short")
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed: install Node 20.19 or newer")
	}
	for _, folder := range []string{".", "../../examples/nestjs-orders"} {
		t.Run(folder, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "npm", "audit", "--omit=dev", "--package-lock-only", "--json")
			cmd.Dir = folder
			out, runErr := cmd.Output() // it fails when it finds something, and when it cannot ask
			report, err := readAudit(out)
			if err != nil {
				t.Fatalf("npm audit: %v, %v\n%s", runErr, err, out)
			}
			if report.Message != "" {
				t.Skipf("the registry gives no advisories: %s", report.Message)
			}
			if found := report.found(); len(found) > 0 {
				t.Errorf("known vulnerabilities: %s", strings.Join(found, ", "))
			}
		})
	}
}

// audit is what `npm audit --json` prints; Message is there when the registry could not be asked.
type audit struct {
	Message         string
	Vulnerabilities map[string]struct{ Severity string }
	Version         int `json:"auditReportVersion"`
}

func readAudit(text []byte) (report audit, err error) {
	err = json.Unmarshal(text, &report)
	if err == nil && report.Message == "" && report.Version == 0 {
		err = os.ErrInvalid
	}
	return report, err
}

func (a audit) found() (found []string) {
	for name, v := range a.Vulnerabilities {
		found = append(found, name+" ("+v.Severity+")")
	}
	slices.Sort(found)
	return found
}

func TestReadAudit_SeesWhatIsFound(t *testing.T) {
	report, err := readAudit([]byte(`{"auditReportVersion": 2, "vulnerabilities": {"minimist": {"severity": "critical"}}}`))
	if err != nil || !slices.Equal(report.found(), []string{"minimist (critical)"}) {
		t.Errorf("%v, %v", report, err)
	}
	if report, err := readAudit([]byte(`{"message": "405 Method Not Allowed"}`)); err != nil || report.Message == "" {
		t.Errorf("%v, %v", report, err)
	}
	for _, text := range []string{``, `{}`} {
		if _, err := readAudit([]byte(text)); err == nil {
			t.Errorf("%q is taken for a report", text)
		}
	}
}
