package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/bench/distance"
	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/devenv/process"
)

// Options of a rig.
type Options struct {
	Logical     bool      // wal_level = logical, which Debezium needs
	WarmRecords int       // go through Kafka before anything is measured
	Small       bool      // a Kafka that starts fast rather than runs fast: for tests
	Far         bool      // a second way to Kafka, with a distance in it
	Log         io.Writer // gets a line about what goes on
}

// Rig is running servers and a place for processes. Its methods are safe from many goroutines.
type Rig struct {
	Postgres *postgres.Server
	Kafka    *kafka.Cluster
	Settings map[string]string // what the servers were given, for the report
	Admin    *kadm.Client
	Way      *distance.Proxy // what clients that begin at FarBrokers pass; nil without Options.Far

	log    io.Writer
	folder *process.Folder
	guard  *process.Guard
	client *kgo.Client
	serial atomic.Int64
}

// Open starts and warms the servers.
func Open(ctx context.Context, o Options) (*Rig, error) {
	r := &Rig{log: o.Log, Settings: map[string]string{}}
	if r.log == nil {
		r.log = io.Discard
	}
	err := r.start(ctx, o)
	if err == nil {
		err = r.warm(ctx, o.WarmRecords)
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("set the benchmark up: %w", err)
	}
	return r, nil
}

func (r *Rig) start(ctx context.Context, o Options) (err error) {
	if r.folder, err = process.OpenFolder("", "outbox-relay-bench-"); err != nil {
		return err
	}
	if r.guard, err = process.NewGuard(r.folder, syscall.SIGKILL); err != nil {
		r.folder.Release()
		return err
	}
	// What an installation sets: fsync and synchronous_commit stay on, as PostgreSQL has them.
	settings := map[string]string{
		"shared_buffers": "512MB", "max_wal_size": "4GB", "max_connections": "100", "wal_level": "replica",
	}
	if o.Logical {
		settings["wal_level"] = "logical"
	}
	r.Logf("starting PostgreSQL and Kafka")
	if r.Postgres, err = postgres.Start(ctx, postgres.Options{Settings: settings}); err != nil {
		return err
	}
	options := kafka.Options{HeapMB: 1024}
	if o.Small {
		options.HeapMB = 0
	}
	if o.Far {
		options.Listeners = []kafka.Listener{{Name: far, Protocol: "PLAINTEXT", Advertise: r.putFar}}
	}
	if r.Kafka, err = kafka.Start(ctx, options); err != nil {
		return err
	}
	for name, value := range settings {
		r.Settings["postgresql "+name] = value
	}
	r.Settings["postgresql fsync"] = "on"
	r.Settings["kafka heap"] = fmt.Sprintf("%d MB", max(256, options.HeapMB))
	if r.client, err = kgo.NewClient(kgo.SeedBrokers(r.Kafka.Brokers()...)); err != nil {
		return err
	}
	r.Admin = kadm.NewClient(r.client)
	return nil
}

// Close ends all. Safe on a rig that is half open.
func (r *Rig) Close() {
	if r.client != nil {
		r.client.Close()
	}
	if r.Kafka != nil {
		r.Kafka.Stop()
	}
	if r.Way != nil {
		r.Way.Close()
	}
	if r.Postgres != nil {
		r.Postgres.Stop()
	}
	if r.guard != nil {
		r.guard.Close()
	}
}

// Logf says what goes on.
func (r *Rig) Logf(format string, args ...any) {
	fmt.Fprintf(r.log, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// Topic makes a topic with the broker's own settings.
func (r *Rig) Topic(ctx context.Context, partitions int32) (string, error) {
	name := fmt.Sprintf("bench-%d", r.serial.Add(1))
	answer, err := r.Admin.CreateTopic(ctx, partitions, 1, nil, name)
	if err = errors.Join(err, answer.Err); err != nil {
		return "", fmt.Errorf("create topic %s: %w", name, err)
	}
	return name, nil
}

func (r *Rig) drop(ctx context.Context, topic string) error {
	_, err := r.Admin.DeleteTopics(ctx, topic)
	if err != nil {
		return fmt.Errorf("delete topic %s: %w", topic, err)
	}
	return nil
}

// File writes a file that the rig's end removes.
func (r *Rig) File(name, text string) (path string, err error) {
	path = filepath.Join(r.folder.Path, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// Launch starts a program whose output goes to a file. The rig's end ends it.
func (r *Rig) Launch(path string, args []string, env ...string) (*Program, error) {
	p := &Program{log: filepath.Join(r.folder.Path, fmt.Sprintf("program-%d.log", r.serial.Add(1)))}
	if err := p.start(r, path, args, env); err != nil {
		return nil, err
	}
	return p, nil
}
