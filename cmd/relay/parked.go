package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/internal/config"
)

func newParkedCommand(g *globals) *cobra.Command {
	return newGroup("parked", "List, retry, drop or edit events that cannot go now",
		newParkedListCommand(g), newParkedShowCommand(g), newParkedRetryCommand(g), newParkedDropCommand(g), newParkedEditCommand(g))
}

// parkedTable is the table parked as one outbox sees it. The connection's search_path is the outbox's schema.
type parkedTable struct {
	conn         *pgx.Conn
	schema, name string
	shownBytes   int // how much of payloads is read at once at most; what does not fit stays where it is
}

// shownBytes that are no number.
const (
	noPayloads  = 0 // nobody is shown any
	allPayloads = -1
)

// verbPatience is how long a verb waits for the transactions of others, who may have gone for lunch.
const verbPatience = "10s"

// openParked connects for one of the subcommands. Whoever opens it closes conn.
func (g *globals) openParked(ctx context.Context, command string) (*parkedTable, error) {
	cfg, err := g.loadConfig()
	if err != nil {
		return nil, err
	}
	return openParkedTable(ctx, cfg, command)
}

func openParkedTable(ctx context.Context, cfg *config.Config, command string) (*parkedTable, error) {
	conn, err := connectPostgres(ctx, cfg, "parked "+command)
	if err != nil {
		return nil, err
	}
	p := &parkedTable{conn: conn, schema: cfg.Outbox.Schema, name: cfg.Outbox.Name, shownBytes: allPayloads}
	settings := fmt.Sprintf("set search_path to %s; set lock_timeout to '%s'", pgx.Identifier{p.schema}.Sanitize(), verbPatience)
	if _, err := conn.Exec(ctx, settings); err != nil {
		closePostgres(conn)
		return nil, err
	}
	return p, nil
}

// explain turns what the server says into a sentence with the cure. The functions of the migrations refuse wrong
// arguments with a sentence of their own.
func (p *parkedTable) explain(err error) error {
	server, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	switch server.Code {
	case "22023": // invalid parameter value
		return usageError(server.Message)
	case "55P03", "40P01": // lock not available, deadlock
		return fmt.Errorf("%sanother transaction has changed these events, or is an operation of its own, and has not ended: "+
			"see pg_stat_activity, and try again", howFar(err))
	case "42883", "42703": // no such function, no such column
		return fmt.Errorf("schema %q is older than this relay: %s; run relay migrate up", p.schema, server.Message)
	}
	return explainMissing(err, p.schema)
}

// partError ends a verb of which some batches are done.
type partError struct {
	verb    string
	changed int64
	matched int64
	cause   error
}

func (e *partError) Error() string { return e.part() + e.cause.Error() }
func (e *partError) Unwrap() error { return e.cause }

func (e *partError) part() string {
	return fmt.Sprintf("%s, after %s of %s: ", e.verb, grouped(e.changed), count(int(e.matched), "event"))
}

// howFar is what an error's explanation begins with.
func howFar(err error) string {
	if part, ok := errors.AsType[*partError](err); ok {
		return part.part()
	}
	return ""
}

// parkedSelection is what --topic, --key, --state and --reason say; nil is a condition that was not given.
type parkedSelection struct {
	topic, key, state, reason *string
}

// parkedFlags are the flags of a selection.
type parkedFlags struct{ topic, key, state, reason string }

func (f *parkedFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.topic, "topic", "", "events for this `TOPIC`")
	flags.StringVar(&f.key, "key", "", "events with this `KEY`")
	flags.StringVar(&f.state, "state", "", "events in this `STATE`: "+strings.Join(parkedStates(), ", "))
	flags.StringVar(&f.reason, "reason", "", "events whose reason begins with this `TEXT`, such as too_large")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(parkedStates(), cobra.ShellCompDirectiveNoFileComp))
}

// parkedStates lists all states, those first that need a person.
func parkedStates() []string { return []string{"dead", "held", "behind", "scheduled", "replay"} }

func (f *parkedFlags) selection(cmd *cobra.Command) (parkedSelection, error) {
	var s parkedSelection
	for name, set := range map[string]func(){
		"topic": func() { s.topic = &f.topic }, "key": func() { s.key = &f.key },
		"state": func() { s.state = &f.state }, "reason": func() { s.reason = &f.reason },
	} {
		if cmd.Flags().Changed(name) {
			set()
		}
	}
	return s, s.check()
}

func (s parkedSelection) check() error {
	if s.state != nil && !slices.Contains(parkedStates(), *s.state) {
		return usageError(fmt.Sprintf("--state %q: there are %s", *s.state, strings.Join(parkedStates(), ", ")))
	}
	return nil
}

func (s parkedSelection) isEmpty() bool { return s == parkedSelection{} }

// where is the condition for rows of an outbox, and its arguments; more arguments may be appended.
func (s parkedSelection) where(name string) (condition string, args []any) {
	args = []any{name}
	condition = "name = $1"
	add := func(format string, value *string) {
		if value != nil {
			args = append(args, *value)
			condition += " and " + fmt.Sprintf(format, "$"+strconv.Itoa(len(args)))
		}
	}
	add("topic = %s", s.topic)
	add("key = %s", s.key)
	add("state = %s", s.state)
	add("starts_with(reason, %s)", s.reason)
	return condition, args
}

// eventIDs reads ids from the command line.
func eventIDs(args []string) ([]pgtype.UUID, error) {
	ids := make([]pgtype.UUID, len(args))
	for i, arg := range args {
		if err := ids[i].Scan(arg); err != nil || len(arg) != 36 {
			return nil, usageError(fmt.Sprintf("%q is no event id: relay parked list prints them", arg))
		}
	}
	return ids, nil
}

// oneEventID is the argument of commands about one event.
func oneEventID(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError("name one event by its id: relay parked list prints them")
	}
	_, err := eventIDs(args)
	return err
}

// operationNote is what an operation's detail says of this process, besides what the migrations' functions note. The
// database knows only the role that it logged in as, which people share.
func (g *globals) operationNote(command, run string) map[string]string {
	note := map[string]string{"via": "relay " + command, "run": run, "os_user": strconv.Itoa(os.Getuid())}
	if u, err := user.Current(); err == nil {
		note["os_user"] = u.Username
	}
	if name := g.lookup("SUDO_USER"); name != "" {
		note["sudo_user"] = name
	}
	if host, err := os.Hostname(); err == nil {
		note["host"] = host
	}
	maps.Copy(note, g.operator)
	return note
}
