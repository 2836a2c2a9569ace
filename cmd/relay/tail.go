package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/publisher"
)

func newTailCommand(g *globals) *cobra.Command {
	var opts publisher.TailOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use: "tail TOPIC…", Short: "Print records as a consumer sees them",
		Long: `Reads topics without joining a consumer group and prints each committed record: where it is, its key, its headers
and its value. Without --from-beginning it begins with what comes next. Ctrl-C ends it.

--json prints one object a line: topic, partition, offset, timestamp, key, headers, value. A null key or value is
null. What is not UTF-8 is in key_base64 or value_base64 instead. A header name that occurs more than once has a list.`,
		Example: "  relay tail orders --from-beginning --limit 10\n  relay tail orders payments --json | jq .value",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("name a topic at least")
			}
			if opts.Limit < 0 {
				return usageError("--limit is negative")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			cfg, err := g.loadConfig(config.PostgresOptional)
			if err != nil {
				return err
			}
			kafka, err := g.kafkaConfig(cfg)
			if err != nil {
				return err
			}
			if err := pingKafka(ctx, cfg, kafka); err != nil {
				return err
			}
			opts.Topics = args
			opts.Started = func() {
				if isTerminal(g.stderr) && !opts.FromBeginning {
					fmt.Fprintf(g.stderr, "waiting for records of %s; Ctrl-C ends\n", strings.Join(args, ", "))
				}
			}
			each := g.printRecord
			if asJSON {
				each = g.printRecordJSON
			}
			err = clientOf(cfg).Tail(ctx, kafka, opts, each)
			if errors.Is(err, ctx.Err()) && ctx.Err() != nil {
				return nil // the user has seen enough
			}
			if publisher.Class(err) == publisher.ClassNoTopic {
				return fmt.Errorf("%w; create it, or look at its name", err)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&opts.FromBeginning, "from-beginning", false, "begin with the oldest record")
	cmd.Flags().IntVar(&opts.Limit, "limit", 0, "end after `N` records; 0 is no limit")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return cmd
}

// printRecord writes topic[partition]@offset, key, headers and value on one line.
func (g *globals) printRecord(r publisher.TailRecord) error {
	s := g.styleFor(g.stdout)
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", s.bold(fmt.Sprintf("%s[%d]@%d", r.Topic, r.Partition, r.Offset)),
		s.faint("key="+readable(r.Key, true)), "")
	for _, h := range r.Headers {
		fmt.Fprintf(&b, "%s ", s.faint(h.Key+"="+readable(h.Value, true)))
	}
	b.WriteString(" " + readable(r.Value, false) + "\n")
	_, err := fmt.Fprint(g.stdout, b.String())
	return err
}

// readable shows bytes as text where they are text. A terminal must not be steered by what somebody wrote into a
// topic, so control characters are escaped. A word that could be misread is quoted.
func readable(value []byte, word bool) string {
	if value == nil {
		return "null"
	}
	text := string(value)
	if !utf8.ValidString(text) {
		return "base64:" + base64.StdEncoding.EncodeToString(value)
	}
	unclear := strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) && r != ' ' })
	if unclear || word && (text == "" || text == "null" || strings.ContainsAny(text, ` "=`)) {
		return fmt.Sprintf("%q", text)
	}
	return text
}

// recordReport is what `relay tail --json` prints for each record.
type recordReport struct {
	Topic       string         `json:"topic"`
	Partition   int32          `json:"partition"`
	Offset      int64          `json:"offset"`
	Timestamp   time.Time      `json:"timestamp"`
	Key         *string        `json:"key"`
	KeyBase64   string         `json:"key_base64,omitempty"`
	Headers     map[string]any `json:"headers"`
	Value       *string        `json:"value"`
	ValueBase64 string         `json:"value_base64,omitempty"`
}

func (g *globals) printRecordJSON(r publisher.TailRecord) error {
	report := recordReport{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UTC(), Headers: headersJSON(r.Headers),
	}
	report.Key, report.KeyBase64 = textOrBase64(r.Key)
	report.Value, report.ValueBase64 = textOrBase64(r.Value)
	encoder := json.NewEncoder(g.stdout)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(report)
}

func textOrBase64(value []byte) (text *string, encoded string) {
	if value == nil {
		return nil, ""
	}
	if s := string(value); utf8.ValidString(s) {
		return &s, ""
	}
	return nil, base64.StdEncoding.EncodeToString(value)
}

// headersJSON is an object, because that is how headers are looked up. Kafka allows a name more than once: then it
// has a list, in the order of the record.
func headersJSON(headers []publisher.Header) map[string]any {
	object := make(map[string]any, len(headers))
	for _, h := range headers {
		var value any
		if text, encoded := textOrBase64(h.Value); text != nil {
			value = *text
		} else if encoded != "" {
			value = map[string]string{"base64": encoded}
		}
		switch earlier, repeated := object[h.Key]; {
		case !repeated:
			object[h.Key] = value
		default:
			list, isList := earlier.([]any)
			if !isList {
				list = []any{earlier}
			}
			object[h.Key] = append(list, value)
		}
	}
	return object
}
