package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/internal/config"
)

// The statuses of a finding.
const (
	statusOK   = "ok"
	statusWarn = "warn"
	statusFail = "fail"
)

// finding is one line of `relay check`. Check is a stable word; --json prints it as it is.
type finding struct {
	Check   string `json:"check"`
	Status  string `json:"status"`
	Message string `json:"message"`
	Cure    string `json:"cure,omitempty"`
}

// checkup collects findings, and prints each as it is found unless it is quiet.
type checkup struct {
	g        *globals
	quiet    bool
	findings []finding
	database string // as PostgreSQL names it; "" when it did not answer
}

func (c *checkup) ok(check, format string, args ...any) {
	c.add(finding{Check: check, Status: statusOK, Message: fmt.Sprintf(format, args...)})
}

func (c *checkup) warn(check, message, cure string) {
	c.add(finding{Check: check, Status: statusWarn, Message: message, Cure: cure})
}

func (c *checkup) fail(check, message, cure string) {
	c.add(finding{Check: check, Status: statusFail, Message: message, Cure: cure})
}

func (c *checkup) add(f finding) {
	c.findings = append(c.findings, f)
	if c.quiet {
		return
	}
	s := c.g.styleFor(c.g.stdout)
	paint := map[string]func(string) string{statusOK: s.good, statusWarn: s.warn, statusFail: s.bad}[f.Status]
	fmt.Fprintf(c.g.stdout, "%s %-14s %s\n", paint(fmt.Sprintf("%-5s", f.Status)), f.Check, f.Message)
	if f.Cure != "" {
		fmt.Fprintf(c.g.stdout, "%s %s\n", strings.Repeat(" ", 20), s.faint("→ "+f.Cure))
	}
}

func (c *checkup) count(status string) int {
	n := 0
	for _, f := range c.findings {
		if f.Status == status {
			n++
		}
	}
	return n
}

func newCheckCommand(g *globals) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "check", Short: "Look at configuration, servers, schema, rights and topics; say what to mend",
		Long: `Looks at everything that relay run needs and changes nothing: the configuration, PostgreSQL (version, primary,
schema, rights of the role, clock), Kafka (version) and the topics it will write (do they exist, do they survive the
loss of a broker). Topics are those that the configuration names and those of recent events.

Prints a line each: ok, warn, or fail with the cure. Exits with 3 when something failed, 2 when the configuration is
wrong.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			c := &checkup{g: g, quiet: asJSON}
			configErr := c.run(ctx)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if asJSON {
				report := map[string]any{"ok": c.count(statusFail) == 0, "findings": c.findings}
				if err := printJSON(g.stdout, report); err != nil {
					return err
				}
			} else {
				fmt.Fprintf(g.stdout, "%s, %s\n", count(c.count(statusFail), "failure"), count(c.count(statusWarn), "warning"))
			}
			switch {
			case configErr != nil:
				return configErr
			case c.count(statusFail) > 0:
				return errFound
			}
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// run looks at everything. The error is about the configuration, without which there is nothing to look at.
func (c *checkup) run(ctx context.Context) error {
	c.ok("relay", "%s", thisBuild())
	cfg, err := c.g.loadConfig()
	if faults, ok := errors.AsType[config.Faults](err); ok {
		for _, f := range faults {
			c.fail("configuration", f.String(), "")
		}
		return errConfiguration
	}
	if err != nil {
		c.fail("configuration", err.Error(), "")
		return errConfiguration
	}
	if cfg.File() == "" {
		c.ok("configuration", "valid; defaults and environment, no file")
	} else {
		c.ok("configuration", "%s is valid", cfg.File())
	}
	for _, w := range cfg.Warnings() {
		c.warn("configuration", w.String(), "")
	}
	recent := c.checkPostgres(ctx, cfg)
	if ctx.Err() == nil {
		c.checkKafka(ctx, cfg, recent)
	}
	if ctx.Err() == nil {
		c.checkTracing(ctx, cfg)
	}
	return nil
}

// errConfiguration ends a check whose findings already say what is wrong with the configuration.
var errConfiguration = errors.New("the configuration is wrong")
