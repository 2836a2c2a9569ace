package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/adopt"
)

// checkAdopted looks whether the tables that feed the outbox still do. Without any it says nothing.
func (c *checkup) checkAdopted(ctx context.Context, conn *pgx.Conn, schema string) {
	tables, faults, err := adopt.Adopted(ctx, conn, schema)
	switch {
	case err != nil:
		c.fail("adopted", err.Error(), "")
	case len(faults) == 0 && len(tables) > 0:
		c.ok("adopted", "rows of %s become events", strings.Join(tables, ", "))
	}
	for _, f := range faults {
		say := c.warn
		if f.Loses {
			say = c.fail
		}
		say("adopted", fmt.Sprintf("%s %s", f.Table, f.Problem), f.Cure)
	}
}
