package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/robfig/cron/v3"
	"golang.org/x/sync/errgroup"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/ops"
	"github.com/outboxrelay/relay/internal/ops/console"
	"github.com/outboxrelay/relay/internal/relay"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/franz"
)

// pingPatience bounds one look whether the brokers are there.
const pingPatience = 5 * time.Second

// serve opens the parts of the daemon, runs them until stop or ctx ends, and closes them in the opposite order. env holds
// what is not of our own configuration: OpenTelemetry's variables.
func serve(ctx, stop context.Context, cfg *config.Config, env []string, log *slog.Logger) error {
	options, err := relayOptions(cfg, log)
	if err != nil {
		return err
	}
	tracer, err := tracerOf(cfg, env, options.Holder, log)
	if err != nil {
		return err
	}
	options.Trace = tracer
	collectEarly(env)
	defer boundHeap(env, cfg.Outbox.MaxInFlight.Bytes())()
	r := relay.New(options)
	outbox := &board{cfg: cfg}
	keeper := newReplayKeeper(cfg, log)
	server, err := ops.Listen(cfg.HTTP.Listen, ops.Sources{Report: r.State().Report, Status: outbox.status,
		Outbox: outbox.outbox, Spans: spansOf(tracer), Console: consoleOf(cfg, outbox, r.State().Report, keeper, log)})
	if err != nil {
		return err
	}
	if !publisher.HasLibrdkafka {
		log.Info("this build has franz-go only: it was made without cgo")
	}
	log.Info("starting", "version", thisBuild().Version, "client", clientOf(cfg).Name()+" "+clientOf(cfg).Version(), "outbox", cfg.Outbox.Name,
		"schema", cfg.Outbox.Schema, "http", server.Address())
	g, ctx := errgroup.WithContext(ctx)
	ended, end := context.WithCancel(context.Background())
	g.Go(func() error {
		defer end()
		return r.Run(ctx, stop)
	})
	g.Go(func() error { return server.Run(ended) })
	replaying, over := context.WithCancel(stop)
	defer over()
	g.Go(func() error {
		defer context.AfterFunc(ctx, over)() // cut, or another part has failed
		return keeper.Run(replaying)
	})
	if tracer != nil {
		g.Go(func() error { return tracer.Run(ended) })
	}
	return g.Wait()
}

// consoleOf is nil when the console is turned off.
func consoleOf(cfg *config.Config, b *board, report func() relay.Report, keeper *replayKeeper, log *slog.Logger) http.Handler {
	if !cfg.Console.Enabled {
		return nil
	}
	return console.Handler(console.Options{API: newAPI(cfg, b, report, keeper, log), Token: cfg.Console.Reveal, Listen: cfg.HTTP.Listen})
}

// relayOptions says in the relay's words what the configuration says.
func relayOptions(cfg *config.Config, log *slog.Logger) (relay.Options, error) {
	holder, err := holderName()
	if err != nil {
		return relay.Options{}, err
	}
	o := relay.Options{
		Postgres: cfg.Postgres.ConnString,
		Schema:   cfg.Outbox.Schema, Name: cfg.Outbox.Name, Holder: holder, Wake: cfg.Outbox.Wake,
		LeaseTTL: cfg.Lease.TTL.Std(), MaxInFlight: cfg.Outbox.MaxInFlight.Bytes(),
		DrainTimeout: cfg.Outbox.DrainTimeout.Std(),
		PollLeast:    cfg.Poll.MinInterval.Std(), PollMost: cfg.Poll.MaxInterval.Std(),
		Headers:      relay.HeaderNames(cfg.Headers),
		RowTimestamp: cfg.Kafka.Timestamp == config.TimestampCreated,
		Compressed:   cfg.Kafka.Compression != "none",
		Allow:        cfg.Topics.Allow, Topics: cfg.Named(),
		SkipDead: cfg.Parked.OnDead == config.OnDeadSkip, DeadLetterTopic: cfg.Parked.DeadLetterTopic,
		Rest: rest, Log: log,
	}
	if o.Keep, err = keeping(cfg); err != nil {
		return o, err
	}
	kafka := newKafkaSide(cfg, clientOf(cfg), log)
	o.Open, o.Ping, o.Copies = kafka.open, kafka.ping, kafka.client.Copies()
	if cfg.Outbox.Delivery == config.ExactlyOnce {
		o.ExactlyOnce = &relay.ExactlyOnce{ID: cfg.Kafka.TransactionalID, Topic: cfg.Kafka.ProgressTopic,
			Open: kafka.openTransactional, Last: kafka.lastProgress, Hanging: kafka.hanging}
	}
	return o, nil
}

// keeping says what is kept how long, and when the janitor works.
func keeping(cfg *config.Config) (*relay.Keeping, error) {
	empty, err := cron.ParseStandard(cfg.Retention.Schedule)
	if err != nil {
		return nil, fmt.Errorf("retention.schedule: %w", err)
	}
	audit, err := cron.ParseStandard(cfg.Audit.Schedule)
	if err != nil {
		return nil, fmt.Errorf("audit.schedule: %w", err)
	}
	return &relay.Keeping{Events: cfg.Retention.Keep.Std(), Inbox: cfg.Retention.Inbox.Std(), EmptyAt: empty, AuditAt: audit}, nil
}

// rest lets Go use one processor while there is nothing to do. librdkafka's binding polls in calls that Go has to watch
// as long as a second processor is idle: that watching is half of what a relay at rest costs.
func rest(resting bool) {
	if resting {
		runtime.GOMAXPROCS(1)
		return
	}
	runtime.SetDefaultGOMAXPROCS()
}

// holderName is unlike that of any other process, and tells a person where this one runs.
func holderName() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("ask for the host's name: %w", err)
	}
	var nonce [4]byte
	_, _ = rand.Read(nonce[:]) // never fails
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), hex.EncodeToString(nonce[:])), nil
}

// kafkaSide reads the Kafka configuration anew for each client, so that rotated secrets are picked up.
type kafkaSide struct {
	cfg     *config.Config
	client  publisher.Client
	timeout time.Duration
	log     *slog.Logger
	created atomic.Bool
}

func newKafkaSide(cfg *config.Config, client publisher.Client, log *slog.Logger) *kafkaSide {
	k := &kafkaSide{cfg: cfg, client: client, timeout: relay.MessageTimeout(cfg.Lease.TTL.Std()), log: log}
	if cfg.Kafka.Client == config.ClientFranz || cfg.Outbox.Delivery == config.ExactlyOnce {
		k.timeout = relay.UnackedTimeout // the lease need not bound it: connections stop with it, or Kafka fences
	}
	return k
}

func (k *kafkaSide) settings() (publisher.Config, error) {
	c, err := k.cfg.Kafka.Publisher()
	if err != nil {
		return c, publisher.NewError(publisher.ClassConfiguration, err.Error())
	}
	limits := relay.Options{MaxInFlight: k.cfg.Outbox.MaxInFlight.Bytes()}
	c.MaxInFlightRecords, c.MaxInFlightBytes = limits.ProducerLimits()
	c.MessageTimeout = k.timeout
	c.Log = k.log
	return c, nil
}

func (k *kafkaSide) open(reports publisher.Reports) (publisher.Producer, error) {
	c, err := k.settings()
	if err != nil {
		return nil, err
	}
	return k.client.Open(c, reports)
}

func (k *kafkaSide) openTransactional(ctx context.Context, id string, reports publisher.Reports) (publisher.Transactional, error) {
	c, err := k.settings()
	if err != nil {
		return nil, err
	}
	c.TransactionalID, c.TransactionTimeout = id, relay.TransactionTimeout
	return k.client.OpenTransactional(ctx, c, reports)
}

// check says why no producer can be made, as far as that can be known without a connection.
func (k *kafkaSide) check() error {
	c, err := k.settings()
	if err != nil {
		return err
	}
	if k.cfg.Outbox.Delivery == config.ExactlyOnce {
		c.TransactionalID, c.TransactionTimeout = "relay", relay.TransactionTimeout // any id
	}
	return k.client.Check(c)
}

// lastProgress reads the newest progress record, from a topic that it creates when there is none.
func (k *kafkaSide) lastProgress(ctx context.Context, key string) ([]byte, error) {
	c, err := k.settings()
	if err != nil {
		return nil, err
	}
	topic := k.cfg.Kafka.ProgressTopic
	record, err := k.client.Last(ctx, c, topic, []byte(key))
	if publisher.Class(err) == publisher.ClassNoTopic {
		if err := k.createProgress(ctx, c); err != nil {
			return nil, err
		}
		record, err = k.client.Last(ctx, c, topic, []byte(key))
	}
	if err != nil || record == nil {
		return nil, err
	}
	return record.Value, nil
}

// hanging asks by franz-go whatever the client is: librdkafka does not know this question.
func (k *kafkaSide) hanging(ctx context.Context, key string, ids ...string) (string, error) {
	c, err := k.settings()
	if err != nil {
		return "", err
	}
	c.Properties = publisher.Tunable(c.Properties)
	return franz.Hanging(ctx, c, k.cfg.Kafka.ProgressTopic, []byte(key), ids...)
}

// createProgress makes the progress topic with the cluster's own number of replicas. Small segments keep what a
// take-over has to read small.
func (k *kafkaSide) createProgress(ctx context.Context, c publisher.Config) error {
	admin, err := k.client.OpenAdmin(c)
	if err != nil {
		return err
	}
	defer admin.Close()
	made, err := admin.CreateTopics(ctx, []publisher.TopicSpec{{Name: k.cfg.Kafka.ProgressTopic, Partitions: 8,
		Config: map[string]string{"cleanup.policy": "compact", "segment.bytes": "16777216", "min.cleanable.dirty.ratio": "0.1"}}})
	for _, name := range made {
		k.log.Info("progress topic created", "topic", name)
	}
	return err
}

// ping looks whether the brokers are there and, the first time they are, creates the topics of topics.create.
func (k *kafkaSide) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingPatience)
	defer cancel()
	c, err := k.settings()
	if err != nil {
		return err
	}
	if err := k.client.Ping(ctx, c); err != nil {
		return err
	}
	if len(k.cfg.Topics.Create) == 0 || k.created.Load() {
		return nil
	}
	if err := k.createTopics(ctx, c); err != nil {
		return err
	}
	k.created.Store(true)
	return nil
}

func (k *kafkaSide) createTopics(ctx context.Context, c publisher.Config) error {
	admin, err := k.client.OpenAdmin(c)
	if err != nil {
		return err
	}
	defer admin.Close()
	var specs []publisher.TopicSpec
	for _, t := range k.cfg.Topics.Create {
		specs = append(specs, publisher.TopicSpec{Name: t.Name, Partitions: t.Partitions,
			ReplicationFactor: t.ReplicationFactor, Config: t.Config})
	}
	made, err := admin.CreateTopics(ctx, specs)
	for _, name := range made {
		k.log.Info("topic created", "topic", name)
	}
	return err
}
