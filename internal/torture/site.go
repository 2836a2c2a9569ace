package torture

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/devenv/process"
	"github.com/outboxrelay/relay/internal/devenv/proxy"
	"github.com/outboxrelay/relay/internal/migrate"
	"github.com/outboxrelay/relay/internal/torture/journal"
	"github.com/outboxrelay/relay/internal/torture/nemesis"
)

// site is the servers of a run, with an outbox and topics on them.
type site struct {
	Options
	postgres *postgres.Server // the primary in the beginning; nil: somebody's own
	standby  *postgres.Server // nil: none
	disk     bool             // postgres has a disk of its own
	kafka    *kafka.Cluster   // nil: somebody's own
	kafkaLog *os.File         // gets the nodes' logs when they stop
	url      string           // the harness's way
	fleet    *proxy.Fleet
	ways     []*proxy.TCP // the relays' way to PostgreSQL
	schema   string       // quoted
	brokers  []string     // the harness's way
	admin    *kadm.Client
	world    *world
	folder   string // of the configuration; goes with the guard
	guard    *process.Guard
	secrets  []string
	progress string // topic of the relays' progress records; "" in at_least_once

	mu      sync.Mutex
	missing []string // topics that nobody has made yet
}

func secret() string {
	var random [12]byte
	_, _ = rand.Read(random[:]) // never fails
	return "canary" + hex.EncodeToString(random[:])
}

// openSite starts what has to be started, and prepares database and topics.
func openSite(ctx context.Context, o Options) (*site, error) {
	s := &site{Options: o, schema: pgx.Identifier{o.Schema}.Sanitize(), secrets: []string{secret(), secret(), secret()}}
	if err := s.open(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *site) open(ctx context.Context) error {
	folder, err := process.OpenFolder("", "outbox-relay-torture-")
	if err != nil {
		return err
	}
	if s.guard, err = process.NewGuard(folder, syscall.SIGKILL); err != nil {
		folder.Release()
		return err
	}
	s.folder = folder.Path
	g, starting := errgroup.WithContext(ctx)
	g.Go(func() error { return s.startPostgres(starting) })
	g.Go(func() error { return s.startKafka(starting) })
	if err := g.Wait(); err != nil {
		return err
	}
	prefix := fmt.Sprintf("torture-%d", s.Seed)
	if s.kafka == nil { // it may remember another run
		prefix = fmt.Sprintf("relay-torture-%d", time.Now().Unix())
	}
	if s.Mode == journal.ExactlyOnce && s.Relays > 0 {
		s.progress = prefix + "-progress"
	}
	s.world = newWorld(prefix, s.secrets[1], s.secrets[2])
	if err := s.prepareDatabase(ctx); err != nil {
		return err
	}
	return s.prepareTopics(ctx)
}

// A disk that can be filled is memory: it is made for the fault that needs it, and for short runs of all faults.
const (
	diskMB   = 2048
	diskRuns = 10 * time.Minute
)

func (s *site) wantsDisk() bool {
	return s.Standby == "" && (slices.Contains(s.Faults, nemesis.DiskFull) || len(s.Faults) == 0 && s.Duration <= diskRuns)
}

func (s *site) startPostgres(ctx context.Context) (err error) {
	s.url = s.Postgres
	if s.url != "" {
		return nil
	}
	options := postgres.Options{Settings: map[string]string{
		"max_prepared_transactions": "64", "max_connections": "150", "shared_buffers": "64MB",
	}}
	if s.wantsDisk() && postgres.CanMakeDisks() == nil {
		options.DiskMB = diskMB
		options.Settings["max_wal_size"] = "128MB"
	}
	s.disk = options.DiskMB > 0
	if s.postgres, err = postgres.Start(ctx, options); err != nil {
		return err
	}
	servers := []*postgres.Server{s.postgres}
	if s.Standby != "" {
		s.standby, err = s.postgres.Standby(ctx, postgres.StandbyOptions{Sync: s.Standby == StandbySync})
		if err != nil {
			return err
		}
		servers = append(servers, s.standby)
	}
	s.url = postgres.URL("postgres", servers...)
	for _, server := range servers {
		u, err := url.Parse(server.URL("postgres"))
		if err != nil {
			return err
		}
		way, err := proxy.StartTCP(u.Host)
		if err != nil {
			return err
		}
		s.ways = append(s.ways, way)
	}
	return nil
}

func (s *site) startKafka(ctx context.Context) (err error) {
	s.brokers = s.Brokers
	if len(s.brokers) > 0 {
		return nil
	}
	if s.kafkaLog, err = os.Create(filepath.Join(s.Dir, "kafka.log")); err != nil {
		return fmt.Errorf("make the file of Kafka's log: %w", err)
	}
	s.fleet = proxy.NewFleet()
	s.kafka, err = kafka.Start(ctx, kafka.Options{Nodes: s.Nodes, HeapMB: 384, Advertise: s.fleet.Advertise, Log: s.kafkaLog,
		JavaFlags: []string{"-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
			"-Dorg.slf4j.simpleLogger.log.kafka.coordinator.transaction=info",
			"-Dorg.slf4j.simpleLogger.log.org.apache.kafka.coordinator.transaction=info"}})
	if err == nil {
		s.brokers = s.kafka.Direct()
	}
	return err
}

func (s *site) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(s.url)
	if err != nil {
		return nil, errors.New("the URL of PostgreSQL is not one that libpq takes")
	}
	cfg.RuntimeParams["application_name"] = application
	cfg.ConnectTimeout = 5 * time.Second
	return pgx.ConnectConfig(ctx, cfg)
}

// application is the name of the harness's connections: pg_stat_activity shows it.
const application = "relay-torture"

func (s *site) prepareDatabase(ctx context.Context) error {
	if s.Relays > 0 {
		if _, err := migrate.Up(ctx, s.url, s.Schema, nil); err != nil {
			return err
		}
	}
	conn, err := s.connect(ctx)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "drop schema if exists relay_torture cascade;"+harnessSQL); err != nil {
		return fmt.Errorf("make the harness's tables: %w", err)
	}
	_, err = conn.Exec(ctx, "insert into relay_torture.keys (key) select unnest($1::text[])", s.world.serialised())
	if err != nil {
		return fmt.Errorf("fill the harness's tables: %w", err)
	}
	return nil
}

func (s *site) prepareTopics(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...))
	if err != nil {
		return fmt.Errorf("open a client of Kafka: %w", err)
	}
	s.admin = kadm.NewClient(client)
	s.missing = s.world.lateTopics()
	for _, name := range s.world.punctual() {
		if err := s.makeTopic(ctx, name, s.world.topics[name]); err != nil {
			return err
		}
	}
	return s.makeTopic(ctx, s.world.again[0], 2)
}

func (s *site) makeTopic(ctx context.Context, name string, partitions int32) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	answer, err := s.admin.CreateTopic(ctx, partitions, -1, nil, name)
	if err == nil {
		err = answer.Err
	}
	if err != nil {
		return fmt.Errorf("make topic %s: %w", name, err)
	}
	return nil
}

// topics are all that records are read from.
func (s *site) topics() []string {
	names := slices.Sorted(maps.Keys(s.world.topics))
	if s.progress != "" {
		names = append(names, s.progress)
	}
	return names
}

// makeMissing makes the next topic that is missing, and gives its name; "" when none is.
func (s *site) makeMissing(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.missing) == 0 {
		return "", nil
	}
	name := s.missing[0]
	if err := s.makeTopic(ctx, name, s.world.topics[name]); err != nil {
		return name, err
	}
	s.missing = s.missing[1:]
	return name, nil
}

func (s *site) close() {
	if s.admin != nil {
		s.admin.Close()
	}
	if s.guard != nil {
		s.guard.Close()
	}
	if s.kafka != nil {
		s.kafka.Stop()
	}
	if s.kafkaLog != nil {
		_ = s.kafkaLog.Close() // it explains a run, and decides nothing
	}
	if s.fleet != nil {
		s.fleet.Close()
	}
	for _, way := range s.ways {
		way.Close()
	}
	for _, server := range []*postgres.Server{s.standby, s.postgres} {
		if server != nil {
			server.Stop()
		}
	}
}
