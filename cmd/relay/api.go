package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/ops/console"
	"github.com/outboxrelay/relay/internal/relay"
)

const (
	// apiWithin bounds a request, below the server's own limit.
	apiWithin = 12 * time.Second
	// apiListMost is how many events one list shows at most.
	apiListMost = 1000
	// apiBody is how long a request's body may be: an edit may bring a payload.
	apiBody = 8 << 20
)

// api is the JSON endpoints below /api/v1/, docs/http-api.md. It reads and changes what the commands read and change,
// by the same functions.
type api struct {
	cfg    *config.Config
	board  *board
	report func() relay.Report
	log    *slog.Logger
}

func newAPI(cfg *config.Config, b *board, report func() relay.Report, log *slog.Logger) http.Handler {
	a := &api{cfg: cfg, board: b, report: report, log: log}
	mux := http.NewServeMux()
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"GET /api/v1/status":            func(r *http.Request) (any, error) { return a.board.status(r.Context()) },
		"GET /api/v1/replica":           func(*http.Request) (any, error) { return a.report(), nil },
		"GET /api/v1/topics":            a.topics,
		"GET /api/v1/parked":            a.list,
		"GET /api/v1/parked/{id}":       a.show,
		"POST /api/v1/parked/retry":     func(r *http.Request) (any, error) { return a.act(r, retryVerb()) },
		"POST /api/v1/parked/drop":      func(r *http.Request) (any, error) { return a.act(r, dropVerb()) },
		"POST /api/v1/parked/{id}/edit": a.edit,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), apiWithin)
			defer cancel()
			document, err := answer(r.WithContext(ctx))
			if err != nil {
				console.Refuse(w, apiStatus(err), err.Error())
				return
			}
			console.Answer(w, http.StatusOK, document)
		})
	}
	return mux
}

func apiStatus(err error) int {
	if _, wrong := errors.AsType[usageError](err); wrong {
		return http.StatusBadRequest
	}
	if _, missing := errors.AsType[*notParkedError](err); missing {
		return http.StatusNotFound
	}
	return http.StatusServiceUnavailable
}

// with runs work on the parked events, over a connection of its own.
func (a *api) with(ctx context.Context, command string, work func(*parkedTable) error) error {
	p, err := openParkedTable(ctx, a.cfg, command)
	if err != nil {
		return err
	}
	defer closePostgres(p.conn)
	return p.explain(work(p))
}

// topicReport is what is parked for a topic.
type topicReport struct {
	Topic  string           `json:"topic"`
	Parked map[string]int64 `json:"parked"` // by state; those that have events
}

// apiTopicsMost bounds the topics that are listed: any writer may name any topic.
const apiTopicsMost = 500

// topics lists those that this process has delivered to and those that events are parked for.
func (a *api) topics(r *http.Request) (any, error) {
	found := map[string]*topicReport{}
	list := []*topicReport{}
	of := func(name string) *topicReport {
		if found[name] == nil {
			found[name] = &topicReport{Topic: name, Parked: map[string]int64{}}
			list = append(list, found[name])
		}
		return found[name]
	}
	err := a.with(r.Context(), "topics", func(p *parkedTable) error {
		rows, err := p.conn.Query(r.Context(), `select topic, state, count(*) from parked where name = $1
			group by topic, state order by count(*) desc, topic limit $2`, p.name, apiTopicsMost)
		if err != nil {
			return err
		}
		var topic, state string
		var n int64
		_, err = pgx.ForEachRow(rows, []any{&topic, &state, &n}, func() error {
			of(topic).Parked[state] = n
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	for topic := range a.report().DeliveredByTopic {
		if len(list) < apiTopicsMost {
			of(topic)
		}
	}
	slices.SortFunc(list, func(x, y *topicReport) int { return bytes.Compare([]byte(x.Topic), []byte(y.Topic)) })
	return list, nil
}

func (a *api) list(r *http.Request) (any, error) {
	query := r.URL.Query()
	var s parkedSelection
	for name, field := range map[string]**string{"topic": &s.topic, "key": &s.key, "state": &s.state, "reason": &s.reason} {
		if query.Has(name) {
			value := query.Get(name)
			*field = &value
		}
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	limit := 50
	if text := query.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > apiListMost {
			return nil, usageError(fmt.Sprintf("limit is not a number from 1 to %d", apiListMost))
		}
	}
	var document bytes.Buffer
	err := a.with(r.Context(), "list", func(p *parkedTable) error {
		return p.list(r.Context(), s, limit, &parkedDocument{out: bufio.NewWriter(&document)})
	})
	return json.RawMessage(document.Bytes()), err
}

func (a *api) show(r *http.Request) (any, error) {
	ids, err := eventIDs([]string{r.PathValue("id")})
	if err != nil {
		return nil, err
	}
	var events []*parkedWhole
	err = a.with(r.Context(), "show", func(p *parkedTable) (err error) {
		if events, err = p.whole(r.Context(), p.conn, ids[0], "order by seq"); err == nil && len(events) == 0 {
			err = p.notParked(r.PathValue("id"))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		a.hide(e)
	}
	return map[string]any{"outbox": a.cfg.Outbox.Name, "matched": len(events), "shown": len(events), "events": events,
		"payloads_hidden": !a.cfg.Console.ShowPayloads}, nil
}

// hide takes the payload out, unless the configuration lets it be seen.
func (a *api) hide(e *parkedWhole) {
	if !a.cfg.Console.ShowPayloads {
		e.Payload, e.PayloadBase64 = nil, ""
	}
}

// decodeBody reads a request's document; a field that there is not is a mistake that might have meant a narrower selection.
func decodeBody(r *http.Request, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(nil, r.Body, apiBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return usageError("the body is not the JSON document that is wanted: " + err.Error())
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return usageError("the body is more than one JSON document")
	}
	return nil
}

// operator says in the record of operations whose request it was.
func (a *api) operator(r *http.Request) *globals {
	return &globals{stdout: io.Discard, stderr: io.Discard, operator: map[string]string{"via": "http " + r.URL.Path, "remote": r.RemoteAddr}}
}

func (a *api) act(r *http.Request, verb parkedVerb) (any, error) {
	var body struct {
		IDs    []string `json:"ids"`
		Topic  *string  `json:"topic"`
		Key    *string  `json:"key"`
		State  *string  `json:"state"`
		Reason *string  `json:"reason"`
		All    bool     `json:"all"`
		DryRun bool     `json:"dry_run"`
	}
	if err := decodeBody(r, &body); err != nil {
		return nil, err
	}
	run := parkedRun{g: a.operator(r), verb: verb, dryRun: body.DryRun, target: parkedTarget{all: body.All,
		selection: parkedSelection{topic: body.Topic, key: body.Key, state: body.State, reason: body.Reason}}}
	if err := run.aimAt(body.IDs); err != nil {
		return nil, err
	}
	var result parkedResult
	err := a.with(r.Context(), verb.name, func(p *parkedTable) (err error) {
		run.table = p
		if result, err = p.count(r.Context(), run.target); err != nil {
			return err
		}
		result.Verb, result.DryRun = verb.name, body.DryRun
		if body.DryRun || result.Matched == 0 {
			return nil
		}
		result.Changed, err = run.change(r.Context(), result)
		return err
	})
	if err == nil && result.Changed > 0 {
		a.log.Info("parked events changed by http", "verb", verb.name, "events", result.Changed, "remote", r.RemoteAddr)
	}
	return result, err
}

func (a *api) edit(r *http.Request) (any, error) {
	var body struct {
		Topic   *string         `json:"topic"`
		Key     *string         `json:"key"`
		Headers json.RawMessage `json:"headers"`
		Payload *string         `json:"payload"`
		Seq     *int64          `json:"seq"`
		DryRun  bool            `json:"dry_run"`
	}
	if err := decodeBody(r, &body); err != nil {
		return nil, err
	}
	ids, err := eventIDs([]string{r.PathValue("id")})
	if err != nil {
		return nil, err
	}
	given := map[string]bool{}
	e := parkedEdit{dryRun: body.DryRun, changed: func(flag string) bool { return given[flag] }}
	for flag, field := range map[string]struct {
		to   *string
		from *string
	}{"topic": {&e.topic, body.Topic}, "key": {&e.key, body.Key}, "payload": {&e.payload, body.Payload}} {
		if field.from != nil {
			*field.to, given[flag] = *field.from, true
		}
	}
	if body.Seq != nil {
		e.seq, given["seq"] = *body.Seq, true
	}
	if e.headers, err = headerPairs(body.Headers); err != nil {
		return nil, err
	}
	e.noHeaders = body.Headers != nil // the object given is all of them
	given["header"] = len(e.headers) > 0
	if err := e.check(); err != nil {
		return nil, err
	}
	payload, err := e.readPayload(nil)
	if err != nil {
		return nil, err
	}
	var before, after *parkedWhole
	err = a.with(r.Context(), "edit", func(p *parkedTable) (err error) {
		before, after, err = p.edit(r.Context(), ids[0], &e, payload, a.operator(r).operationNote("parked edit", runName()))
		return err
	})
	if err != nil {
		return nil, err
	}
	if !body.DryRun {
		a.log.Info("parked events changed by http", "verb", "edit", "events", 1, "remote", r.RemoteAddr)
	}
	a.hide(before)
	a.hide(after)
	return map[string]any{"outbox": a.cfg.Outbox.Name, "dry_run": body.DryRun, "before": before, "after": after,
		"payloads_hidden": !a.cfg.Console.ShowPayloads}, nil
}

// headerPairs are the headers of an object of strings, as --header takes them.
func headerPairs(object json.RawMessage) ([]string, error) {
	if object == nil {
		return nil, nil
	}
	list, err := parseHeaders(object)
	if err != nil {
		return nil, usageError("headers are no JSON object")
	}
	var pairs []string
	for _, h := range list {
		var text string
		if err := json.Unmarshal(h.value, &text); err != nil {
			return nil, usageError("the value of a header is no string")
		}
		pairs = append(pairs, h.name+"="+text)
	}
	return pairs, nil
}
