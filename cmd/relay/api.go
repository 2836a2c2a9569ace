package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/ops/console"
	"github.com/outboxrelay/relay/internal/relay"
	"github.com/outboxrelay/relay/internal/store"
)

const (
	// apiWithin bounds a request, below the server's own limit.
	apiWithin = 12 * time.Second
	// apiChanges is when a request begins no further batch of changes: the one that it is at has time to end, so the answer
	// says how many are done.
	apiChanges = 6 * time.Second
	// apiListMost is how many events one list shows at most.
	apiListMost = 1000
	// apiAtOnce is how many requests have a connection to PostgreSQL at once; the others wait for one of these.
	apiAtOnce = 4
	// apiBody is how long a request's body may be: an edit may bring a payload.
	apiBody = 8 << 20
	// apiPayloads is how many bytes of payloads are read to be shown. They take a dozen times this in the process that
	// delivers events; the command shows all of them.
	apiPayloads = 1 << 20
)

// api is the JSON endpoints below /api/v1/, docs/http-api.md. It reads and changes what the commands read and change,
// by the same functions.
type api struct {
	cfg    *config.Config
	board  *board
	report func() relay.Report
	keeper *replayKeeper
	log    *slog.Logger
	turns  chan struct{} // holds one for each request that has a connection
}

func newAPI(cfg *config.Config, b *board, report func() relay.Report, keeper *replayKeeper, log *slog.Logger) http.Handler {
	a := &api{cfg: cfg, board: b, report: report, keeper: keeper, log: log, turns: make(chan struct{}, apiAtOnce)}
	mux := http.NewServeMux()
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"GET /api/v1/status":               func(r *http.Request) (any, error) { return a.board.status(r.Context()) },
		"GET /api/v1/replica":              func(*http.Request) (any, error) { return a.report(), nil },
		"GET /api/v1/topics":               a.topics,
		"GET /api/v1/parked":               a.list,
		"GET /api/v1/parked/{id}":          a.show,
		"POST /api/v1/parked/retry":        func(r *http.Request) (any, error) { return a.act(r, retryVerb()) },
		"POST /api/v1/parked/drop":         func(r *http.Request) (any, error) { return a.act(r, dropVerb()) },
		"POST /api/v1/parked/{id}/edit":    a.edit,
		"GET /api/v1/replays":              a.replays,
		"POST /api/v1/replays":             a.replay,
		"POST /api/v1/replays/{no}/stop":   a.replayStop,
		"POST /api/v1/replays/{no}/resume": a.replayResume,
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
	if _, missing := errors.AsType[noReplayError](err); missing {
		return http.StatusNotFound
	}
	return http.StatusServiceUnavailable
}

// turn waits until this request may have a connection, and gives back how to end that. Anybody who reaches the port may
// ask, and the connections that PostgreSQL takes are the applications' too.
func (a *api) turn(ctx context.Context) (end func(), err error) {
	select {
	case a.turns <- struct{}{}:
		return func() { <-a.turns }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%d other requests are being answered: try again", apiAtOnce)
	}
}

// with runs work on the parked events, over a connection of its own.
func (a *api) with(ctx context.Context, command string, work func(*parkedTable) error) error {
	end, err := a.turn(ctx)
	if err != nil {
		return err
	}
	defer end()
	p, err := openParkedTable(ctx, a.cfg, command)
	if err != nil {
		return err
	}
	defer closePostgres(p.conn)
	p.shownBytes = noPayloads
	if a.cfg.Console.ShowPayloads {
		p.shownBytes = apiPayloads
	}
	return p.explain(work(p))
}

// replaying runs work on replays, over a connection of its own.
func (a *api) replaying(ctx context.Context, work func(*store.Replayer) error) error {
	end, err := a.turn(ctx)
	if err != nil {
		return err
	}
	defer end()
	return a.keeper.with(ctx, work)
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
