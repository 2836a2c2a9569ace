package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/outboxrelay/relay/internal/devenv/gobuild"
	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/devenv/process"
	"github.com/outboxrelay/relay/internal/migrate"
)

const (
	schema       = "outbox"
	stopPatience = 5 * time.Second
)

// stack is what runs.
type stack struct {
	postgres  *postgres.Server
	kafka     *kafka.Cluster
	folder    *process.Folder
	guard     *process.Guard
	databases map[string]string
	relays    []*process.Process
}

// place is where everything is, as it is printed.
type place struct {
	Brokers   []string          `json:"brokers"`
	Databases map[string]string `json:"databases"`
}

func (s *stack) where() place { return place{s.kafka.Brokers(), s.databases} }

// start runs the servers side by side while the relay is built.
func start(ctx context.Context, opts options) (_ *stack, err error) {
	s := &stack{databases: map[string]string{}}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.folder, err = process.OpenFolder("", "outbox-relay-stack-"); err != nil {
		return nil, err
	}
	if s.guard, err = process.NewGuard(s.folder, syscall.SIGTERM); err != nil {
		return nil, err
	}
	group, all := errgroup.WithContext(ctx)
	group.Go(func() error { return s.startPostgres(all, opts.relays) })
	group.Go(func() error { return s.startKafka(all, opts.topics) })
	group.Go(func() error { return gobuild.Relay(all, s.binary()) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, relay := range opts.relays {
		if err := s.startRelay(relay); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *stack) binary() string { return filepath.Join(s.folder.Path, "relay") }

func (s *stack) startPostgres(ctx context.Context, relays []relaySpec) (err error) {
	s.postgres, err = postgres.Start(ctx, postgres.Options{Settings: map[string]string{
		"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB", "max_connections": "200",
	}})
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, s.postgres.URL("postgres"))
	if err != nil {
		return fmt.Errorf("connect to the new PostgreSQL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, relay := range relays {
		if _, err := conn.Exec(ctx, "create database "+pgx.Identifier{relay.name}.Sanitize()); err != nil {
			return fmt.Errorf("create database %s: %w", relay.name, err)
		}
		url := s.postgres.URL(relay.name)
		if _, err := migrate.Up(ctx, url, schema, nil); err != nil {
			return err
		}
		s.databases[relay.name] = url
	}
	return nil
}

func (s *stack) startKafka(ctx context.Context, topics []topicSpec) (err error) {
	s.kafka, err = kafka.Start(ctx, kafka.Options{Properties: map[string]string{
		// Tests show what happens when a session times out, and have no ten seconds for it.
		"group.min.session.timeout.ms":     "500",
		"group.initial.rebalance.delay.ms": "0",
	}})
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka.Brokers()...))
	if err != nil {
		return fmt.Errorf("connect to the new Kafka: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for _, topic := range topics {
		if _, err := admin.CreateTopic(ctx, topic.partitions, 1, nil, topic.name); err != nil {
			return fmt.Errorf("create topic %s: %w", topic.name, err)
		}
	}
	return nil
}

// startRelay does not wait: events that are inserted before it leads are published when it does.
func (s *stack) startRelay(spec relaySpec) error {
	log, err := os.Create(filepath.Join(s.folder.Path, spec.name+".log"))
	if err != nil {
		return fmt.Errorf("make a relay's log: %w", err)
	}
	defer log.Close()
	relay, err := s.guard.Start(process.Spec{
		Path: s.binary(), Args: []string{"run"}, Dir: s.folder.Path, Output: log,
		Env: []string{
			"PATH=" + os.Getenv("PATH"),
			"RELAY_POSTGRES_URL=" + s.databases[spec.name],
			"RELAY_KAFKA_BROKERS=" + strings.Join(s.kafka.Brokers(), ","),
			"RELAY_KAFKA_COMPRESSION=" + spec.compression,
			"RELAY_HTTP_LISTEN=",
		},
	})
	if err != nil {
		return err
	}
	s.relays = append(s.relays, relay)
	return nil
}

// stop ends everything, and says what a relay that ended by itself has logged.
func (s *stack) stop() {
	for _, relay := range s.relays {
		if gone, status := relay.Exited(); gone {
			fmt.Fprintf(os.Stderr, "stack: a relay ended by itself with code %d\n", status.ExitStatus())
			s.showLogs()
		}
		relay.End(syscall.SIGTERM, stopPatience)
	}
	if s.kafka != nil {
		s.kafka.Stop()
	}
	if s.postgres != nil {
		s.postgres.Stop()
	}
	switch {
	case s.guard != nil:
		s.guard.Close()
	case s.folder != nil:
		s.folder.Release()
	}
}

func (s *stack) showLogs() {
	logs, err := filepath.Glob(filepath.Join(s.folder.Path, "*.log"))
	for _, path := range logs {
		text, readErr := os.ReadFile(path)
		err = errors.Join(err, readErr)
		fmt.Fprintf(os.Stderr, "%s:\n%s", filepath.Base(path), text)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "stack: %v\n", err)
	}
}
