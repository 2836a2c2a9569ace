// Package ops is what operators see of a running relay: its log, its health and its metrics. It is the only
// package beside cmd/relay that knows how these look; the others are handed a *slog.Logger.
package ops

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/rs/zerolog"
)

// The formats of a log.
const (
	FormatAuto    = "auto"    // console on a terminal, else JSON
	FormatConsole = "console" // for people
	FormatJSON    = "json"    // for log collectors: one object a line
)

var levels = map[string]zerolog.Level{
	"debug": zerolog.DebugLevel, "info": zerolog.InfoLevel, "warn": zerolog.WarnLevel, "error": zerolog.ErrorLevel,
}

// timeFormat has milliseconds, which are needed to tell what came first, and always the same width.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// LogOptions say how a log looks.
type LogOptions struct {
	Level    string // debug, info, warn, error
	Format   string // FormatAuto, FormatConsole, FormatJSON
	Terminal bool   // w is a terminal; decides what FormatAuto means
	Color    bool   // colours are wanted; only the console has any
}

// NewLogger returns a logger that writes to w, one line a record. Times are in UTC, durations in words ("1.5s"). It
// is safe from many goroutines if w is. The error names a level or a format that there is not.
func NewLogger(w io.Writer, opts LogOptions) (*slog.Logger, error) {
	level, known := levels[opts.Level]
	if !known {
		return nil, fmt.Errorf("log level %q: there are debug, info, warn and error", opts.Level)
	}
	switch {
	case opts.Format == FormatConsole, opts.Format == FormatAuto && opts.Terminal:
		w = zerolog.ConsoleWriter{
			Out: w, NoColor: !opts.Color,
			FormatTimestamp: clock,
		}
	case opts.Format != FormatJSON && opts.Format != FormatAuto:
		return nil, fmt.Errorf("log format %q: there are auto, console and json", opts.Format)
	}
	return slog.New(&handler{next: zerolog.NewSlogHandler(zerolog.New(w).Level(level))}), nil
}

// clock is the time of day of a timestamp: on a console the date is known.
func clock(timestamp any) string {
	text, _ := timestamp.(string)
	t, err := time.Parse(timeFormat, text)
	if err != nil {
		return text
	}
	return t.Local().Format("15:04:05.000")
}

// handler gives zerolog's handler what it cannot be told without changing zerolog's global variables: how a time and
// a duration are written.
type handler struct {
	next slog.Handler
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *handler) Handle(ctx context.Context, record slog.Record) error {
	written := slog.NewRecord(time.Time{}, record.Level, record.Message, record.PC)
	written.AddAttrs(slog.String(zerolog.TimestampFieldName, record.Time.UTC().Format(timeFormat)))
	record.Attrs(func(a slog.Attr) bool {
		written.AddAttrs(inWords(a))
		return true
	})
	return h.next.Handle(ctx, written)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	words := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		words[i] = inWords(a)
	}
	return &handler{next: h.next.WithAttrs(words)}
}

// WithGroup is the one thing that is refused: a group would take the time with it, and our fields have one flat list
// of names.
func (h *handler) WithGroup(string) slog.Handler { return h }

// inWords writes a duration with its unit, and leaves everything else as it is.
func inWords(a slog.Attr) slog.Attr {
	if v := a.Value.Resolve(); v.Kind() == slog.KindDuration {
		return slog.String(a.Key, v.Duration().String())
	}
	return a
}
