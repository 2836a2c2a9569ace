package sut

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/outboxrelay/relay/bench/rig"
)

func relays(binary string) (kinds []Kind) {
	for _, client := range []string{"librdkafka", "franz-go"} {
		for _, delivery := range []string{"at_least_once", "exactly_once"} {
			kind := Kind{Name: "relay-" + client, What: "the relay, kafka.client = " + client, Daemon: true}
			if delivery == "exactly_once" {
				kind.Name += "-exactly"
				kind.What += ", outbox.delivery = exactly_once"
				kind.Exactly = true
			}
			env := []string{"RELAY_KAFKA_CLIENT=" + client, "RELAY_OUTBOX_DELIVERY=" + delivery}
			kind.Missing = func(ctx context.Context) error { return refused(ctx, binary, env) }
			kind.Open = func(site *rig.Site, _ Load) System { return NewRelay(site, binary, env...) }
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// refused asks the binary whether it takes a configuration.
func refused(ctx context.Context, binary string, env []string) error {
	cmd := exec.CommandContext(ctx, binary, "config", "check")
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "RELAY_POSTGRES_URL=postgres://127.0.0.1/none"}, env...)
	cmd.Dir = os.TempDir() // a relay.toml in the working directory is not this relay's
	out, err := cmd.CombinedOutput()
	if err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("this relay refuses it: %s", strings.TrimPrefix(first, "relay: "))
	}
	return nil
}

// Relay is one process of the relay.
type Relay struct {
	site    *rig.Site
	binary  string
	env     []string
	program *rig.Program
}

// NewRelay is a relay of this binary, with more in its environment.
func NewRelay(site *rig.Site, binary string, env ...string) *Relay {
	return &Relay{site: site, binary: binary, env: env}
}

// With gives it more environment, before Begin.
func (r *Relay) With(env ...string) { r.env = append(r.env[:len(r.env):len(r.env)], env...) }

// Install has nothing to do: a site has the outbox.
func (r *Relay) Install(context.Context) error { return nil }

// Insert writes into outbox.events.
func (r *Relay) Insert() string {
	return InsertInto("outbox.events")
}

// Table is outbox.events.
func (r *Relay) Table() string { return "outbox.events" }

// Begin starts the process.
func (r *Relay) Begin(context.Context) (err error) {
	r.program, err = r.site.Launch(r.binary, []string{"run"}, append([]string{
		"RELAY_POSTGRES_URL=" + r.site.URL, "RELAY_KAFKA_BROKERS=" + strings.Join(r.site.Kafka.Brokers(), ","), "RELAY_HTTP_LISTEN=",
	}, r.env...)...)
	return err
}

// Leads waits until it delivers; a follower never does.
func (r *Relay) Leads(ctx context.Context) error { return r.program.Says(ctx, "session began") }

// Follows waits until it waits for another to end.
func (r *Relay) Follows(ctx context.Context) error { return r.program.Says(ctx, `"following"`) }

// Program is its process.
func (r *Relay) Program() *rig.Program { return r.program }

// Alive says whether the process runs.
func (r *Relay) Alive(context.Context) error { return r.program.Alive() }

// PIDs is the process.
func (r *Relay) PIDs() []int { return []int{r.program.PID()} }

// End stops it by SIGTERM: what is in flight is settled.
func (r *Relay) End(context.Context) error { return r.program.Terminate(30 * time.Second) }

// Close kills it.
func (r *Relay) Close() {
	if r.program != nil {
		r.program.Kill()
	}
}
