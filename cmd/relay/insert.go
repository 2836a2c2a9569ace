package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/outbox"
)

const (
	// insertBatch is how many events go into one statement.
	insertBatch = 1000
	// maxPayload bounds what is read from stdin; no broker takes a record this large.
	maxPayload = 64 << 20
)

// insertion is what the flags of `relay insert` say.
type insertion struct {
	topic, key, kind, deliverAt string
	headers                     []string
	count                       int
	partition                   int32
	binary, tombstone           bool
}

func newInsertCommand(g *globals) *cobra.Command {
	var in insertion
	cmd := &cobra.Command{
		Use: "insert --topic TOPIC [PAYLOAD | -]", Short: "Insert events, for trying out and for scripts",
		Long: `Inserts events into the outbox in one transaction and prints their ids. The payload is JSON; - reads it from
standard input, and without one a small sample is made up. Applications insert for themselves, in the transaction
of the change that the event tells of.`,
		Example: `  relay insert --topic orders --key 42 --type OrderPlaced '{"order": 42}'
  relay insert --topic orders --count 1000
  relay insert --topic images --binary - < photo.jpg`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError("give one payload; quote it if it has spaces")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			event, err := in.event(g.stdin, args, cmd.Flags().Changed)
			if err != nil {
				return err
			}
			return g.insert(ctx, event, in.count)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&in.topic, "topic", "", "`TOPIC` that the events are for (required)")
	flags.StringVar(&in.key, "key", "", "`KEY`: events of one key keep their order; left out, there is none")
	flags.StringVar(&in.kind, "type", "", "`TYPE` of the event, for the type header")
	flags.StringArrayVar(&in.headers, "header", nil, "`NAME=VALUE` of a header; can be given more than once")
	flags.IntVar(&in.count, "count", 1, "insert `N` events of this kind, each with an id of its own")
	flags.Int32Var(&in.partition, "partition", 0, "send it to partition `N` instead of the key's")
	flags.StringVar(&in.deliverAt, "deliver-at", "", "not before this `TIME`: RFC 3339, or from now, such as 10m")
	flags.BoolVar(&in.binary, "binary", false, "the payload is bytes, not JSON")
	flags.BoolVar(&in.tombstone, "tombstone", false, "no payload: a null record, which deletes its key on a compacted topic")
	return cmd
}

// event makes the event that the flags describe; its payload is zero when a sample is wanted. changed says whether a
// flag was given, which tells an empty key from none.
func (in *insertion) event(stdin io.Reader, args []string, changed func(flag string) bool) (outbox.Event, error) {
	event := outbox.Event{Topic: in.topic, Key: in.key, Type: in.kind, EmptyKey: in.key == "" && changed("key")}
	switch {
	case in.topic == "":
		return event, usageError("--topic is missing")
	case in.count < 1:
		return event, usageError("--count has to be 1 or more")
	case in.tombstone && (in.binary || len(args) > 0):
		return event, usageError("--tombstone is a record without a payload: leave out --binary and the payload")
	case in.binary && len(args) == 0:
		return event, usageError("--binary needs a payload, or - for standard input")
	}
	if changed("partition") {
		event.Partition = outbox.Partition(in.partition)
	}
	for _, header := range in.headers {
		name, value, found := strings.Cut(header, "=")
		if !found {
			return event, usageError("--header wants NAME=VALUE")
		}
		if event.Headers == nil {
			event.Headers = map[string]string{}
		}
		event.Headers[name] = value
	}
	var err error
	if event.DeliverAt, err = deliveryTime(in.deliverAt, time.Now()); err != nil {
		return event, err
	}
	event.Payload, err = in.payload(stdin, args)
	return event, err
}

func deliveryTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if wait, err := time.ParseDuration(text); err == nil {
		return now.Add(wait), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, usageError("--deliver-at wants a time such as 2030-01-02T15:04:05Z, or a duration from now such as 10m")
	}
	return at, nil
}

func (in *insertion) payload(stdin io.Reader, args []string) (outbox.Payload, error) {
	if in.tombstone {
		return outbox.Tombstone(), nil
	}
	if len(args) == 0 {
		return outbox.Payload{}, nil
	}
	content := []byte(args[0])
	if args[0] == "-" {
		var err error
		if content, err = io.ReadAll(io.LimitReader(stdin, maxPayload+1)); err != nil {
			return outbox.Payload{}, fmt.Errorf("read the payload from standard input: %w", err)
		}
		if len(content) > maxPayload {
			return outbox.Payload{}, usageError(fmt.Sprintf("the payload on standard input is larger than %s", bytesInWords(maxPayload)))
		}
	}
	if in.binary {
		return outbox.Binary(content), nil
	}
	content = bytes.TrimRight(content, "\r\n") // echo's, not the payload's
	if !utf8.Valid(content) || !json.Valid(content) {
		return outbox.Payload{}, usageError(`the payload is not JSON; text has to be in double quotes ('"hello"'), and --binary takes any bytes`)
	}
	return outbox.RawJSON(content), nil
}

// insert writes n events like this one in one transaction, and prints the ids after the commit.
func (g *globals) insert(ctx context.Context, event outbox.Event, n int) error {
	cfg, err := g.loadConfig()
	if err != nil {
		return err
	}
	conn, err := connectPostgres(ctx, cfg, "insert")
	if err != nil {
		return err
	}
	defer closePostgres(conn)
	tx, err := conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	ids, err := g.insertAll(ctx, tx, outbox.Writer{Schema: cfg.Outbox.Schema, Headers: writerHeaders(cfg.Headers)}, event, n)
	if err != nil {
		return explainInvalid(err)
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w; if the connection broke, the events may be there all the same", err)
	}
	out := bufio.NewWriter(g.stdout)
	for _, id := range ids {
		fmt.Fprintln(out, id)
	}
	return out.Flush()
}

// writerHeaders are the names in the words of the package outbox, where empty is the default.
func writerHeaders(h config.Headers) outbox.HeaderNames {
	return outbox.HeaderNames{ID: cmp.Or(h.ID, outbox.NoHeader), Type: cmp.Or(h.Type, outbox.NoHeader),
		CreatedAt: cmp.Or(h.CreatedAt, outbox.NoHeader)}
}

func (g *globals) insertAll(ctx context.Context, tx pgx.Tx, w outbox.Writer, event outbox.Event, n int) ([]string, error) {
	sample := event.Payload.IsZero()
	progress := n > insertBatch && isTerminal(g.stderr)
	ids := make([]string, 0, n)
	batch := make([]outbox.Event, 0, insertBatch)
	for len(ids) < n {
		batch = batch[:0]
		for len(batch) < insertBatch && len(ids) < n {
			event.ID = outbox.NewID()
			if sample {
				event.Payload = outbox.JSON(map[string]int{"number": len(ids) + 1})
			}
			ids = append(ids, event.ID)
			batch = append(batch, event)
		}
		if err := w.Insert(ctx, tx, batch...); err != nil {
			return nil, err
		}
		if progress {
			fmt.Fprintf(g.stderr, "\rinserted %s of %s ", grouped(int64(len(ids))), grouped(int64(n)))
		}
	}
	if progress {
		fmt.Fprintln(g.stderr)
	}
	return ids, nil
}

// explainInvalid says what is wrong with an event in the words of the flags that it was made of.
func explainInvalid(err error) error {
	invalid, ok := errors.AsType[*outbox.InvalidError](err)
	if !ok {
		return err
	}
	flags := map[string]string{
		"Topic": "--topic", "Key": "--key", "Type": "--type", "Payload": "the payload", "Partition": "--partition", "DeliverAt": "--deliver-at",
	}
	var faults []string
	for _, fault := range invalid.Faults {
		if fault.Index != 0 {
			break // all events are alike
		}
		name := flags[fault.Field]
		if header, isHeader := strings.CutPrefix(fault.Field, "Headers"); isHeader {
			name = strings.TrimSpace("--header " + strings.Trim(header, "[]"))
		}
		faults = append(faults, name+" "+fault.Problem)
	}
	return usageError(strings.Join(faults, "; "))
}
