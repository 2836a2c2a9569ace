package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/spf13/cobra"
)

// parkedEdit is what the flags of `relay parked edit` say.
type parkedEdit struct {
	topic, key, payload, payloadFile string
	headers                          []string
	allHeaders                       *string // an object that takes the place of all
	partition                        int32
	seq                              int64
	noKey, noHeaders, noPartition    bool
	binary, tombstone                bool
	dryRun, asJSON                   bool
	changed                          func(flag string) bool // says whether a flag was given
}

func newParkedEditCommand(g *globals) *cobra.Command {
	var edit parkedEdit
	cmd := &cobra.Command{
		Use: "edit ID", Short: "Change topic, key, headers or payload of a parked event",
		Long: `Changes one parked event and prints what it was and what it is. A dead event becomes held, so that the relay tries it
as it is now. Its place in the order of its topic and key is by the time at which it was parked.

--header sets one header and leaves the others; with --no-headers, which takes all away, it sets those that remain. The
payload is JSON, or with --binary any bytes. An event that is to be replayed was delivered, and cannot be edited.`,
		Example: `  relay parked edit 0198c0de-0000-7000-8000-000000000000 --topic orders
  relay parked edit 0198c0de-0000-7000-8000-000000000000 --payload-file smaller.json --dry-run
  relay parked edit 0198c0de-0000-7000-8000-000000000000 --no-headers --header tenant=7`,
		Args: oneEventID,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			edit.changed = cmd.Flags().Changed
			if err := edit.check(); err != nil {
				return err
			}
			payload, err := edit.readPayload(g.stdin)
			if err != nil {
				return err
			}
			ids, err := eventIDs(args)
			if err != nil {
				return err
			}
			p, err := g.openParked(ctx, "edit")
			if err != nil {
				return err
			}
			defer closePostgres(p.conn)
			return p.explain(g.edit(ctx, p, ids[0], &edit, payload))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&edit.topic, "topic", "", "the new `TOPIC`")
	flags.StringVar(&edit.key, "key", "", "the new `KEY`")
	flags.BoolVar(&edit.noKey, "no-key", false, "take the key away")
	flags.StringArrayVar(&edit.headers, "header", nil, "set this `NAME=VALUE`; can be given more than once")
	flags.BoolVar(&edit.noHeaders, "no-headers", false, "take all headers away, then set those of --header")
	flags.StringVar(&edit.payload, "payload", "", "the new payload as `JSON`; - reads standard input")
	flags.StringVar(&edit.payloadFile, "payload-file", "", "read the new payload from `FILE`")
	flags.BoolVar(&edit.binary, "binary", false, "the new payload is bytes, not JSON")
	flags.BoolVar(&edit.tombstone, "tombstone", false, "take the payload away: a null record")
	flags.Int32Var(&edit.partition, "partition", 0, "send it to partition `N`")
	flags.BoolVar(&edit.noPartition, "no-partition", false, "send it to its key's partition")
	flags.Int64Var(&edit.seq, "seq", 0, "of several events with this id, the one with seq `N`")
	flags.BoolVar(&edit.dryRun, "dry-run", false, "print what would change, and change nothing")
	jsonFlag(cmd, &edit.asJSON)
	return cmd
}

func (e *parkedEdit) check() error {
	newPayload := e.changed("payload") || e.changed("payload-file")
	anything := newPayload || e.tombstone || e.noKey || e.noHeaders || e.noPartition
	for _, flag := range []string{"topic", "key", "header", "partition"} {
		anything = anything || e.changed(flag)
	}
	switch {
	case e.binary && !newPayload:
		return usageError("--binary needs --payload or --payload-file")
	case !anything:
		return usageError("say what to change: --topic, --key, --no-key, --header, --no-headers, --payload, --payload-file, --tombstone, --partition or --no-partition")
	case e.noKey && e.changed("key"):
		return usageError("--key and --no-key exclude each other")
	case e.noPartition && e.changed("partition"):
		return usageError("--partition and --no-partition exclude each other")
	case e.changed("payload") && e.changed("payload-file"), e.tombstone && newPayload:
		return usageError("--payload, --payload-file and --tombstone exclude each other")
	case e.partition < 0:
		return usageError("--partition is negative: partitions are counted from 0")
	}
	_, err := setHeaders(nil, e.headers)
	return err
}

// readPayload returns nil when there is no new one.
func (e *parkedEdit) readPayload(stdin io.Reader) ([]byte, error) {
	content := []byte(e.payload)
	from, where := stdin, "standard input"
	switch {
	case e.changed("payload-file"):
		f, err := os.Open(e.payloadFile)
		if err != nil {
			return nil, usageError(fmt.Sprintf("--payload-file: %s", err))
		}
		defer f.Close()
		from, where = f, e.payloadFile
	case !e.changed("payload"):
		return nil, nil
	case e.payload != "-":
		from = nil
	}
	if from != nil {
		var err error
		if content, err = io.ReadAll(io.LimitReader(from, maxPayload+1)); err != nil {
			return nil, fmt.Errorf("read the payload from %s: %w", where, err)
		}
		if len(content) > maxPayload {
			return nil, usageError(fmt.Sprintf("the payload in %s is larger than %s", where, bytesInWords(maxPayload)))
		}
	}
	if e.binary {
		return content, nil
	}
	content = bytes.TrimRight(content, "\r\n") // an editor's, not the payload's
	if !utf8.Valid(content) || !json.Valid(content) {
		return nil, usageError(`the payload is not JSON; text has to be in double quotes ('"hello"'), and --binary takes any bytes`)
	}
	return content, nil
}

// edit changes the event, reads it again and prints both. A dry run does the same and rolls back, so that it finds
// every fault and shows the outcome as it would be.
func (g *globals) edit(ctx context.Context, p *parkedTable, id pgtype.UUID, e *parkedEdit, payload []byte) error {
	before, after, err := p.edit(ctx, id, e, payload, g.operationNote("parked edit", runName()))
	if err != nil {
		return err
	}
	if e.asJSON {
		return printJSON(g.stdout, map[string]any{"outbox": p.name, "dry_run": e.dryRun, "before": before, "after": after})
	}
	g.printEdit(before, after, e.dryRun)
	return nil
}

// edit changes the event and gives what it was and what it is.
func (p *parkedTable) edit(ctx context.Context, id pgtype.UUID, e *parkedEdit, payload []byte, note map[string]string) (before, after *parkedWhole, err error) {
	tx, err := p.conn.Begin(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if before, err = p.editable(ctx, tx, id, e); err != nil {
		return nil, nil, err
	}
	if err := e.apply(ctx, tx, p.name, id, before, payload, note); err != nil {
		return nil, nil, err
	}
	found, err := p.whole(ctx, tx, id, "and seq = $3 and state <> 'replay'", before.Seq)
	if err != nil {
		return nil, nil, err
	}
	if len(found) != 1 {
		return nil, nil, errors.New("the event is gone after the edit; nothing was changed")
	}
	if !e.dryRun {
		if err := tx.Commit(ctx); err != nil {
			return nil, nil, fmt.Errorf("commit: %w; if the connection broke, the change may be there all the same", err)
		}
	}
	return before, found[0], nil
}

// editable finds and locks the one event that is meant.
func (p *parkedTable) editable(ctx context.Context, tx pgx.Tx, id pgtype.UUID, e *parkedEdit) (*parkedWhole, error) {
	suffix, args := "and state <> 'replay' order by seq for update", []any(nil)
	if e.changed("seq") {
		suffix, args = "and state <> 'replay' and seq = $3 for update", []any{e.seq}
	}
	events, err := p.whole(ctx, tx, id, suffix, args...)
	if err != nil {
		return nil, err
	}
	switch len(events) {
	case 0:
		return nil, p.notParked(id.String())
	case 1:
		return events[0], nil
	}
	var choices []string
	for _, event := range events {
		choices = append(choices, fmt.Sprintf("--seq %d (%s for %s)", event.Seq, event.State, event.Topic))
	}
	return nil, usageError(fmt.Sprintf("%d parked events have this id: say %s", len(events), strings.Join(choices, " or ")))
}

const editSQL = `
select parked_edit($1, new_topic => $2, new_key => $3, new_headers => $4, new_payload => $5, new_payload_bytes => $6,
       new_partition => $7, no_key => $8, no_headers => $9, no_payload => $10, no_partition => $11, relay => $12,
       seq => $13, note => $14)`

func (e *parkedEdit) apply(ctx context.Context, tx pgx.Tx, name string, id pgtype.UUID, before *parkedWhole, payload []byte, note map[string]string) error {
	var topic, key, headers, text *string
	var binary []byte
	var partition *int32
	if e.changed("topic") {
		topic = &e.topic
	}
	if e.changed("key") {
		key = &e.key
	}
	if e.changed("partition") {
		partition = &e.partition
	}
	if headers = e.allHeaders; len(e.headers) > 0 {
		object, err := e.newHeaders(before.Headers)
		if err != nil {
			return err
		}
		headers = &object
	}
	if payload != nil && e.binary {
		binary = payload
	} else if payload != nil {
		content := string(payload)
		text = &content
	}
	var n int64
	err := tx.QueryRow(ctx, editSQL, id, topic, key, headers, text, binary, partition, e.noKey,
		e.noHeaders && headers == nil, e.tombstone, e.noPartition, name, before.Seq, note).Scan(&n)
	if err != nil {
		return fmt.Errorf("edit the event: %w", err)
	}
	return nil
}

// newHeaders is the object with --header set in it.
func (e *parkedEdit) newHeaders(stored json.RawMessage) (string, error) {
	var headers []storedHeader
	if stored != nil && !e.noHeaders {
		var err error
		if headers, err = parseHeaders(stored); err != nil {
			return "", fmt.Errorf("%w: --no-headers takes them away", err)
		}
	}
	headers, err := setHeaders(headers, e.headers)
	if err != nil {
		return "", err
	}
	return formatHeaders(headers)
}
