// Package relay_test looks at the files that put the relay on machines we do not have here: the image and the
// composition. Their containers are not started; what can be said without an engine is.
package relay_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
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

// readComposition reads the repository's file, and others on top of it as `docker compose -f` would: ours add services and
// change none.
func readComposition(t *testing.T, more ...string) composition {
	t.Helper()
	var c composition
	for _, file := range append([]string{"docker-compose.yml"}, more...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		before := maps.Clone(c.Services)
		if err := yaml.Unmarshal(text, &c); err != nil {
			t.Fatal(err)
		}
		for name := range before {
			if !reflect.DeepEqual(before[name], c.Services[name]) {
				t.Errorf("%s changes the service %s", file, name)
			}
		}
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
	checkConditions(t, c)
}

// checkConditions looks whether what services wait for can come about.
func checkConditions(t *testing.T, c composition) {
	t.Helper()
	const healthy, done = "service_healthy", "service_completed_successfully"
	for name, s := range c.Services {
		for other, need := range s.DependsOn {
			needed, ok := c.Services[other]
			if !ok {
				t.Errorf("%s waits for %s, which is not there", name, other)
			}
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
	checkSources(t, c)
	if got := c.Services["kafka"].Environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"]; got != "false" {
		t.Errorf("a mistyped topic comes into being: %q", got)
	}
}

// checkSources looks where services come from and who can reach them.
func checkSources(t *testing.T, c composition) {
	t.Helper()
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
}

// examples/nestjs-orders has a file that goes on top of ours.
func TestExampleCompose_FitsOnTopOfOurs(t *testing.T) {
	const example = "examples/nestjs-orders"
	c := readComposition(t, example+"/docker-compose.yml")
	checkConditions(t, c)
	checkSources(t, c)

	built := c.Services["migrate"].Image
	for _, name := range []string{"billing-migrate", "billing-relay"} {
		s := c.Services[name]
		if s.Image == "" || s.Image != built {
			t.Errorf("%s runs %q, and what is built is called %q", name, s.Image, built)
		}
		var env []string
		for variable, value := range s.Environment {
			env = append(env, variable+"="+value)
		}
		cfg, err := config.Load("", env)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !slices.Equal(cfg.Kafka.Brokers, []string{"kafka:19092"}) || !strings.Contains(s.Environment["RELAY_POSTGRES_URL"], "@billing-database:5432/billing") {
			t.Errorf("%s: %v", name, s.Environment)
		}
	}
	if got := c.Services["billing-migrate"].Command; !slices.Equal(got, []string{"migrate", "up"}) {
		t.Errorf("billing-migrate runs %v", got)
	}
	// The topics that the two services use are made by somebody.
	for service, topic := range map[string]string{"topics": "orders", "dead-letters": "orders.billing.dlq"} {
		if !regexp.MustCompile(`(^|[^\w.-])` + regexp.QuoteMeta(topic) + `($|[^\w.-])`).MatchString(strings.Join(c.Services[service].Command, " ")) {
			t.Errorf("%s does not make the topic %s: %v", service, topic, c.Services[service].Command)
		}
	}
	for name, database := range map[string]string{"orders": "@postgres:5432/app", "billing": "@billing-database:5432/billing"} {
		s := c.Services[name]
		if !strings.Contains(s.Environment["DATABASE_URL"], database) {
			t.Errorf("%s: %v, want a URL with %s", name, s.Environment, database)
		}
		if !slices.Equal(s.Volumes, []string{"./" + example + ":/app:ro"}) || !slices.Equal(s.Command, []string{"node", "dist/" + name + "/main.js"}) {
			t.Errorf("%s runs %v in %v", name, s.Command, s.Volumes)
		}
		if _, err := os.Stat(filepath.Join(example, "src", name, "main.ts")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
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
	for _, want := range []string{"-X main.version=", "-X main.commit=", "-X main.date=", "CGO_ENABLED=1 scripts/build-release.sh "} {
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
	if !slices.Contains(let, "scripts/build-release.sh") {
		t.Error(".dockerignore keeps away the script that builds")
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
