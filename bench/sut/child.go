package sut

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/outboxrelay/relay/bench/rig"
)

// child is a system that is this program, started again with other arguments.
type child struct {
	site    *rig.Site
	self    string
	args    []string
	program *rig.Program
}

func (c *child) Begin(context.Context) (err error) {
	args := append(c.args[:len(c.args):len(c.args)], "--brokers", strings.Join(c.site.Kafka.Brokers(), ","), "--topic", c.site.Topic)
	c.program, err = c.site.Launch(c.self, args, ChildVariable+"=1")
	return err
}

// Alive lets a child be that has done its work.
func (c *child) Alive(context.Context) error {
	if gone, status := c.program.Exited(); gone && status.ExitStatus() == 0 {
		return nil
	}
	return c.program.Alive()
}

func (c *child) PIDs() []int { return []int{c.program.PID()} }

func (c *child) End(context.Context) error { return c.program.Terminate(30 * time.Second) }

func (c *child) Close() {
	if c.program != nil {
		c.program.Kill()
	}
}

// ChildVariable is set in the environment of a program that this one starts again as a system under test.
const ChildVariable = "RELAY_BENCH_CHILD"

// bare is a Kafka client alone.
type bare struct{ child }

func bares(self string) (kinds []Kind) {
	for _, client := range []string{"librdkafka", "franz-go"} {
		kind := Kind{Name: "bare-" + client, What: client + " alone, from memory, with the relay's settings", Memory: true}
		kind.Missing = func(context.Context) error { return bareMissing(client) }
		kind.Open = func(site *rig.Site, l Load) System {
			return &bare{child{site: site, self: self, args: []string{"child", "bare", "--client", client,
				"--events", fmt.Sprint(l.Events), "--keys", fmt.Sprint(l.Keys), "--bytes", fmt.Sprint(l.Bytes)}}}
		}
		kinds = append(kinds, kind)
	}
	return kinds
}

func bareMissing(client string) error {
	if client == "librdkafka" && !haveLibrdkafka {
		return errNoCgo
	}
	return nil
}

func (b *bare) Install(context.Context) error { return nil }
func (b *bare) Insert() string                { return "" }
func (b *bare) Table() string                 { return "" }

// poller is what a team would write by hand; RunPoller is its other half.
type poller struct{ child }

func pollerKind(self string) Kind {
	return Kind{
		Name: "poller", What: "a hand-written poller: claim 500 rows, publish, mark, commit",
		Missing: func(context.Context) error { return nil },
		Open: func(site *rig.Site, _ Load) System {
			return &poller{child{site: site, self: self, args: []string{"child", "poller", "--postgres", site.URL}}}
		},
	}
}

func (p *poller) Install(ctx context.Context) error {
	_, err := p.site.DB.Exec(ctx, pollerTable)
	if err != nil {
		return fmt.Errorf("make the poller's table: %w", err)
	}
	return nil
}

func (p *poller) Insert() string {
	return InsertInto("poller_outbox")
}

func (p *poller) Table() string { return "poller_outbox" }
