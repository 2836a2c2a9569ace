package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

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
	run := parkedRun{g: a.operator(r), verb: verb, dryRun: body.DryRun, deadline: time.Now().Add(apiChanges), target: parkedTarget{all: body.All,
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
	if result.Changed > 0 {
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
	if e.allHeaders, err = headersObject(body.Headers); err != nil {
		return nil, err
	}
	e.noHeaders = body.Headers != nil // the object given is all of them
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

// headersObject checks an object of strings, and writes it as the column headers has it; nil is none.
func headersObject(object json.RawMessage) (*string, error) {
	if object == nil {
		return nil, nil
	}
	list, err := parseHeaders(object)
	if err != nil {
		return nil, usageError("headers are no JSON object")
	}
	for _, h := range list {
		var text string
		if err := json.Unmarshal(h.value, &text); err != nil || h.value[0] != '"' {
			return nil, usageError("the value of a header is no string")
		}
		if h.name == "" {
			return nil, usageError("a header has no name")
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	text, err := formatHeaders(list)
	return &text, err
}
