package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/devenv/fake"
	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/migrate"
)

const (
	sampleTopic = "orders"
	sampleEvery = time.Second
)

// devOptions are the flags of relay dev.
type devOptions struct {
	events    int
	noSamples bool
	data      string
	postgres  string
	brokers   []string
}

func newDevCommand(g *globals) *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Try everything on this machine: database, broker, relay and sample events",
		Long: `Try everything on this machine.

Starts a private PostgreSQL (from the binaries on this machine), a Kafka-protocol broker inside this process, applies
the migrations, runs the relay, and inserts a sample event a second. Then it prints one line an event as a consumer
sees it. Ctrl-C ends all of it and leaves nothing behind.

The broker is a stand-in for development: it speaks Kafka's protocol and keeps records in memory only. No configuration
file and none of its variables is read.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.events < 0 || (o.events > 0 && o.noSamples) {
				return usageError("--events takes a number above 0, and not together with --no-samples")
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			return g.dev(ctx, o)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.events, "events", 0, "stop after `N` sample events were delivered")
	flags.BoolVar(&o.noSamples, "no-samples", false, "insert no sample events")
	flags.StringVar(&o.data, "data", "", "keep the database in `DIR` (the stand-in broker keeps nothing)")
	flags.StringVar(&o.postgres, "postgres", "", "use the database at this `URL` instead of a private one")
	flags.StringSliceVar(&o.brokers, "brokers", nil, "use these Kafka brokers (`LIST` of host:port) instead of the stand-in")
	return cmd
}

// dev starts the servers that were not given, runs the relay and the samples between them, and ends all again.
func (g *globals) dev(ctx context.Context, o devOptions) error {
	began := time.Now()
	cfg := config.Default()
	cfg.HTTP.Listen = ""
	cfg.Log.Level = "warn"
	if g.logLevel != "" {
		cfg.Log.Level = g.logLevel
	}
	cfg.Log.Format = g.logFormat
	if cfg.Log.Format == "" {
		cfg.Log.Format = "console"
	}
	if g.configFile != "" {
		log, err := g.logger(cfg)
		if err != nil {
			return err
		}
		log.Warn("relay dev reads no configuration: relay run with --config does", "file", g.configFile)
	}
	url, release, err := devDatabase(ctx, o)
	if err != nil {
		return err
	}
	defer release()
	cfg.Postgres.URL = config.URL(url)
	if cfg.Kafka.Brokers = o.brokers; len(o.brokers) == 0 {
		broker, err := fake.Start(fake.Options{Topics: map[string]int32{sampleTopic: 4}})
		if err != nil {
			return err
		}
		defer broker.Stop()
		cfg.Kafka.Brokers = broker.Brokers()
	}
	if _, err := migrate.Up(ctx, url, cfg.Outbox.Schema, func(migrate.Step) {}); err != nil {
		return err
	}
	g.introduce(cfg, url, len(o.brokers) == 0, time.Since(began))
	return g.devRun(ctx, cfg, url, o)
}

// devDatabase gives a connection URL, and what is to be done at the end.
func devDatabase(ctx context.Context, o devOptions) (url string, release func(), err error) {
	if o.postgres != "" {
		return o.postgres, func() {}, nil
	}
	dir := o.data
	if dir != "" {
		if dir, err = filepath.Abs(filepath.Join(dir, "postgres")); err != nil {
			return "", nil, err
		}
	}
	server, err := postgres.Start(ctx, postgres.Options{Dir: dir})
	if err != nil {
		return "", nil, err
	}
	return server.URL("postgres"), server.Stop, nil
}

// introduce says what there is and how to reach it.
func (g *globals) introduce(cfg *config.Config, url string, standIn bool, took time.Duration) {
	s := g.styleFor(g.stdout)
	broker := strings.Join(cfg.Kafka.Brokers, ",")
	note := ""
	if standIn {
		note = s.faint("  (a stand-in for development, in this process: records are kept in memory)")
	}
	fmt.Fprintf(g.stdout, "%s  %s\n", s.bold("PostgreSQL"), url)
	fmt.Fprintf(g.stdout, "%s       %s%s\n\n", s.bold("Kafka"), broker, note)
	fmt.Fprintf(g.stdout, "Insert an event:   psql '%s' -c \"insert into outbox.events (topic, key, payload) values ('%s', '42', '{\\\"hello\\\": \\\"world\\\"}')\"\n", url, sampleTopic)
	fmt.Fprintf(g.stdout, "Read the topic:    kcat -b %s -t %s -C -o beginning -f '%%t[%%p]@%%o %%k %%h %%s\\n'\n", broker, sampleTopic)
	fmt.Fprintf(g.stdout, "Stop:              Ctrl-C %s\n\n", s.faint("(ready in "+ago(took)+")"))
}

// devRun runs the relay, the samples and the reader until ctx ends or enough samples were delivered.
func (g *globals) devRun(ctx context.Context, cfg *config.Config, url string, o devOptions) error {
	log, err := g.logger(cfg)
	if err != nil {
		return err
	}
	stop, drain := context.WithCancel(ctx)
	defer drain()
	group, all := errgroup.WithContext(context.WithoutCancel(ctx))
	defer context.AfterFunc(all, drain)()
	group.Go(func() error { return serve(all, stop, cfg, g.env, log) })
	group.Go(func() error {
		defer drain()
		watch := &devReader{out: g.stdout, style: g.styleFor(g.stdout), wanted: o.events}
		return ended(stop, watch.run(stop, cfg.Kafka.Brokers))
	})
	group.Go(func() error { return ended(stop, devTopics(stop, cfg, url)) })
	if !o.noSamples {
		group.Go(func() error { return ended(stop, samples(stop, url, o.events)) })
	}
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// ended leaves out the errors that come from stopping.
func ended(stop context.Context, err error) error {
	if stop.Err() != nil {
		return nil
	}
	return err
}

// samples inserts an event a second, n of them, or until ctx ends when n is 0.
func samples(ctx context.Context, url string, n int) error {
	db, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect for the samples: %w", err)
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for i := 1; n == 0 || i <= n; i++ {
		_, err := db.Exec(ctx, `insert into outbox.events (topic, key, type, payload)
			values ($1, $2, 'OrderPlaced', json_build_object('order', $3::int, 'total', ($3 * 7 % 100) || '.90'))`,
			sampleTopic, fmt.Sprintf("customer-%d", i%5), i)
		if err != nil {
			return fmt.Errorf("insert a sample: %w", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// devTopics creates the topics that inserted events name, so that trying things out needs no other tool.
func devTopics(ctx context.Context, cfg *config.Config, url string) error {
	db, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to look for topics: %w", err)
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	known := []string{}
	for {
		rows, _ := db.Query(ctx, `select distinct topic from outbox.parked where state = 'held' and topic !~ '^__'
			union select $1 order by 1`, sampleTopic)
		topics, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("look for topics: %w", err)
		}
		topics = slices.DeleteFunc(topics, func(t string) bool { return slices.Contains(known, t) })
		if err := createDevTopics(ctx, cfg, topics); err != nil {
			return err
		}
		known = append(known, topics...)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}
