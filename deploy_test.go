// Package relay_test looks at the files that put the relay on machines we do not have here: the image and the
// composition. Their containers are not started; what can be said without an engine is.
package relay_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/outboxrelay/relay/internal/config"
)

// service is what this test reads of a service; everything else is Docker's affair.
type service struct {
	Image       string
	Build       *struct{ Context string }
	Command     []string
	Environment map[string]string
	Ports       []string
	Volumes     []string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	HealthCheck *struct {
		Test    []string
		Disable bool
		Retries int
	} `yaml:"healthcheck"`
	Restart         string
	StopGracePeriod string `yaml:"stop_grace_period"`
}

type composition struct {
	Services map[string]service
	Volumes  map[string]any
}

func readComposition(t *testing.T) composition {
	t.Helper()
	text, err := os.ReadFile("docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var c composition
	if err := yaml.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompose_StartsInAnOrderThatWorks(t *testing.T) {
	c := readComposition(t)
	const healthy, done = "service_healthy", "service_completed_successfully"
	want := map[string]map[string]string{
		"postgres": {},
		"kafka":    {},
		"topics":   {"kafka": healthy},
		"migrate":  {"postgres": healthy},
		"relay":    {"postgres": healthy, "kafka": healthy, "migrate": done, "topics": done},
	}
	for name, needs := range want {
		s, ok := c.Services[name]
		if !ok {
			t.Errorf("there is no service %s", name)
			continue
		}
		got := map[string]string{}
		for other, need := range s.DependsOn {
			got[other] = need.Condition
		}
		if fmt.Sprint(got) != fmt.Sprint(needs) {
			t.Errorf("%s waits for %v, want %v", name, got, needs)
		}
	}
	for name, s := range c.Services {
		for other, need := range s.DependsOn {
			needed := c.Services[other]
			probed := needed.HealthCheck != nil && len(needed.HealthCheck.Test) > 1 && needed.HealthCheck.Retries > 0
			if need.Condition == healthy && !probed {
				t.Errorf("%s waits until %s is healthy, and nobody asks %s", name, other, other)
			}
			if need.Condition == done && needed.Restart != "no" {
				t.Errorf("%s waits until %s has ended, and it is restarted (%q)", name, other, needed.Restart)
			}
		}
	}
}

func TestCompose_ConfiguresTheRelayWithNamesItKnows(t *testing.T) {
	c := readComposition(t)
	for _, name := range []string{"relay", "migrate"} {
		var env []string
		for variable, value := range c.Services[name].Environment {
			env = append(env, variable+"="+value)
		}
		// An unknown variable and a value out of its range are both faults here.
		cfg, err := config.Load("", env)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !slices.Equal(cfg.Kafka.Brokers, []string{"kafka:19092"}) {
			t.Errorf("%s: brokers %v", name, cfg.Kafka.Brokers)
		}
		if url := c.Services[name].Environment["RELAY_POSTGRES_URL"]; !strings.Contains(url, "@postgres:5432/app") {
			t.Errorf("%s: url %s does not lead to the service postgres", name, url)
		}
	}
	if got := c.Services["migrate"].Command; !slices.Equal(got, []string{"migrate", "up"}) {
		t.Errorf("migrate runs %v", got)
	}
}

func TestCompose_StopsNoRelayBeforeItHasDrained(t *testing.T) {
	grace, err := time.ParseDuration(readComposition(t).Services["relay"].StopGracePeriod)
	if err != nil || grace <= time.Duration(config.Default().Outbox.DrainTimeout) {
		t.Errorf("stop_grace_period %v, %v: want more than outbox.drain_timeout, %v", grace, err,
			config.Default().Outbox.DrainTimeout)
	}
}

func TestCompose_KeepsDataAndKeepsToThisMachine(t *testing.T) {
	c := readComposition(t)
	for _, name := range []string{"postgres", "kafka"} {
		mounts := c.Services[name].Volumes
		if len(mounts) != 1 || !strings.HasPrefix(mounts[0], name+":/") {
			t.Errorf("%s keeps its data in %v", name, mounts)
		}
		if _, ok := c.Volumes[name]; !ok {
			t.Errorf("volume %s is not declared", name)
		}
	}
	for name, s := range c.Services {
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to the network, with a password that everybody can read", name, port)
			}
		}
		if s.Image == "" && s.Build == nil {
			t.Errorf("%s has neither image nor build", name)
		}
		if strings.HasSuffix(s.Image, ":latest") {
			t.Errorf("%s: image %s changes under our feet", name, s.Image)
		}
	}
	if got := c.Services["kafka"].Environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"]; got != "false" {
		t.Errorf("a mistyped topic comes into being: %q", got)
	}
}

func TestDockerfile_MakesASmallImageThatIsNotRoot(t *testing.T) {
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	stages := strings.Split("\n"+string(text), "\nFROM ")[1:]
	if len(stages) != 2 {
		t.Fatalf("%d stages, want a builder and what is shipped", len(stages))
	}
	module, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	language := regexp.MustCompile(`(?m)^go (1\.\d+)`).FindSubmatch(module)
	if want := fmt.Sprintf("golang:%s-bookworm ", language[1]); !strings.HasPrefix(stages[0], want) {
		t.Errorf("the builder is %.40q, go.mod wants %s", stages[0], want)
	}
	for _, want := range []string{"-X main.version=", "-X main.commit=", "-X main.date=", "CGO_ENABLED=1"} {
		if !strings.Contains(stages[0], want) {
			t.Errorf("the builder lacks %s", want)
		}
	}
	if !strings.HasPrefix(stages[1], "debian:bookworm-slim") {
		t.Errorf("shipped on %.40q: another glibc than the builder's", stages[1])
	}
	for _, want := range []string{"ca-certificates.crt", "HEALTHCHECK", "/livez", `ENTRYPOINT ["/usr/local/bin/relay"]`} {
		if !strings.Contains(stages[1], want) {
			t.Errorf("the image lacks %s", want)
		}
	}
	if !regexp.MustCompile(`(?m)^USER [1-9]\d*`).MatchString(stages[1]) {
		t.Error("the image runs as root, or as a name that Kubernetes cannot check")
	}
}

// What .dockerignore lets through has to be all that the build reads.
func TestDockerignore_LeavesTheBuildWhatItNeeds(t *testing.T) {
	text, err := os.ReadFile(".dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	var let []string
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "!"); ok {
			let = append(let, strings.TrimSuffix(name, "/"))
		}
	}
	imports := regexp.MustCompile(`"github\.com/outboxrelay/relay/([a-z]+)`)
	for _, top := range []string{"cmd", "internal", "outbox", "publisher", "migrations"} {
		err := filepath.WalkDir(top, func(path string, _ os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, found := range imports.FindAllSubmatch(source, -1) {
				if !slices.Contains(let, string(found[1])) {
					t.Errorf("%s imports %s, which .dockerignore keeps away", path, found[1])
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
