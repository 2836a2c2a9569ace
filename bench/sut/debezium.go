package sut

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/outboxrelay/relay/bench/rig"
	"github.com/outboxrelay/relay/internal/devenv/connect"
	"github.com/outboxrelay/relay/internal/devenv/maven"
)

// warmRows goes through a worker before it is measured: a JVM that has just started compiles instead of working.
const warmRows = 50_000

func debeziums() []Kind {
	kinds := []Kind{
		{Name: "debezium", What: "Debezium 3.6 on Kafka Connect 4.3, as it comes"},
		{Name: "debezium-tuned", What: "Debezium 3.6 on Kafka Connect 4.3, tuned"},
		{Name: "debezium-tuned-exactly", What: "Debezium 3.6 on Kafka Connect 4.3, tuned, exactly-once", Exactly: true},
	}
	for i := range kinds {
		kind := &kinds[i]
		kind.Logical = true
		kind.Missing = func(context.Context) error {
			if _, err := maven.Java(); err != nil {
				return fmt.Errorf("java: %w", err)
			}
			return nil
		}
		tuned, exactly := i > 0, kind.Exactly
		kind.Open = func(site *rig.Site, l Load) System {
			return &debezium{site: site, tuned: tuned, exactly: exactly, warm: min(warmRows, l.Events)}
		}
	}
	return kinds
}

// debezium is a worker with one connector.
type debezium struct {
	site           *rig.Site
	tuned, exactly bool
	warm           int
	worker         *connect.Worker
}

// options are the worker's. Untuned it has Connect's own: a heap of 2 GB, and what producers do by default.
func (d *debezium) options() connect.Options {
	o := connect.Options{Brokers: d.site.Kafka.Brokers(), Group: "connect-" + d.site.Database, HeapMB: 2048, Properties: map[string]string{}}
	if d.tuned {
		o.HeapMB = 1536
		o.Properties = map[string]string{
			"producer.linger.ms": "5", "producer.batch.size": "262144", "producer.enable.idempotence": "true",
			"producer.max.in.flight.requests.per.connection": "5",
		}
	}
	if d.exactly {
		o.Properties["exactly.once.source.support"] = "enabled"
	}
	return o
}

func (d *debezium) connector() (map[string]string, error) {
	more := map[string]string{}
	if d.tuned {
		more = map[string]string{
			"max.batch.size": "8192", "max.queue.size": "32768", "poll.interval.ms": "10", "extended.headers.enabled": "false",
		}
	}
	if d.exactly {
		more["exactly.once.support"] = "required"
	}
	return connect.OutboxConnector(d.site.URL, d.site.Database, more)
}

// Install starts a worker, sends rows through it to a topic of their own, and halts the connector: it keeps its slot,
// and what is written from now on waits in the write-ahead log.
func (d *debezium) Install(ctx context.Context) (err error) {
	if _, err := d.site.DB.Exec(ctx, connect.Table); err != nil {
		return fmt.Errorf("make Debezium's table: %w", err)
	}
	if d.worker, err = connect.Start(ctx, d.options()); err != nil {
		return err
	}
	config, err := d.connector()
	if err != nil {
		return err
	}
	if err := d.worker.Create(ctx, d.site.Database, config); err != nil {
		return err
	}
	if err := connect.SlotActive(ctx, d.site.DB, d.site.Database); err != nil {
		return err
	}
	if err := d.warmUp(ctx); err != nil {
		return fmt.Errorf("warm the worker: %w", err)
	}
	return d.worker.Halt(ctx, d.site.Database)
}

func (d *debezium) warmUp(ctx context.Context) error {
	warm := *d.site
	var err error
	if warm.Topic, err = d.site.Rig.Topic(ctx, 4); err != nil {
		return err
	}
	if _, err := d.site.DB.Exec(ctx, d.Insert(), warm.Topic, 1, d.warm, 1, Load{Bytes: 300}.Filler(), 1000); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	for {
		n, err := warm.Stored(ctx)
		if err != nil {
			return err
		}
		if n >= int64(d.warm) {
			return nil
		}
		if err := d.Alive(ctx); err != nil {
			return err
		}
		if err := rig.Sleep(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d rows are in Kafka: %w", n, d.warm, err)
		}
	}
}

func (d *debezium) Insert() string {
	return `insert into outboxevent (aggregatetype, aggregateid, type, payload)
		select $1::text, ` + keySQL + `, 'OrderPlaced', ` + payloadSQL + ` from ` + rowsSQL
}

func (d *debezium) Table() string { return "outboxevent" }

func (d *debezium) Begin(ctx context.Context) error { return d.worker.Resume(ctx, d.site.Database) }

func (d *debezium) Alive(ctx context.Context) error {
	return errors.Join(d.worker.Alive(), d.worker.Failed(ctx, d.site.Database))
}

func (d *debezium) PIDs() []int { return []int{d.worker.PID()} }

func (d *debezium) End(ctx context.Context) error { return d.worker.Halt(ctx, d.site.Database) }

// Close also drops the slot: the database could not be dropped, and the write-ahead log would be kept for nobody.
func (d *debezium) Close() {
	if d.worker == nil {
		return
	}
	d.worker.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		_, err := d.site.DB.Exec(ctx, `select pg_terminate_backend(active_pid) from pg_replication_slots where active`)
		if err == nil {
			_, err = d.site.DB.Exec(ctx, `select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database()`)
		}
		if err == nil || rig.Sleep(ctx, 50*time.Millisecond) != nil {
			return
		}
	}
}
