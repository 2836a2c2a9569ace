package torture

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/internal/torture/check"
	"github.com/outboxrelay/relay/internal/torture/journal"
	"github.com/outboxrelay/relay/internal/torture/nemesis"
	"github.com/outboxrelay/relay/outbox"
)

// Run does a run, writes its folder with journals and reports, and gives the judgement. An error says that the run could
// not be done; what was violated is in the result. When ctx ends the load ends, and the rest is done all the same.
func Run(ctx context.Context, o Options) (check.Result, error) {
	o, err := o.complete()
	if err != nil {
		return check.Result{}, err
	}
	if err := makeDir(o.Dir); err != nil {
		return check.Result{}, err
	}
	o.Log.Info("starting the servers")
	s, err := openSite(ctx, o)
	if err != nil {
		return check.Result{}, err
	}
	defer s.close()
	r, err := newRun(ctx, s)
	if err != nil {
		return check.Result{}, err
	}
	err = errors.Join(r.torture(ctx), r.close())
	if err != nil {
		return check.Result{}, err
	}
	book, err := check.Load(o.Dir)
	if err != nil {
		return check.Result{}, err
	}
	result := check.Check(book)
	return result, result.WriteReports(o.Dir)
}

func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder of the journals: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look into the folder of the journals: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("folder %s is not empty: a run's journals need a folder of their own", dir)
	}
	return nil
}

// run is a run at work.
type run struct {
	*site
	relays  *replicas
	sampler *sampler
	written atomic.Int64

	actions, ledger, witness, concurrent, fresh, uncommitted, samples, usage *journal.Writer
}

func newRun(ctx context.Context, s *site) (*run, error) {
	r := &run{site: s}
	for name, w := range map[string]**journal.Writer{
		journal.ActionsFile: &r.actions, journal.LedgerFile: &r.ledger, journal.WitnessFile: &r.witness,
		journal.ConcurrentFile: &r.concurrent, journal.FreshFile: &r.fresh, journal.UncommittedFile: &r.uncommitted,
		journal.SamplesFile: &r.samples, journal.UsageFile: &r.usage,
	} {
		var err error
		if *w, err = journal.Create(s.Dir, name, name == journal.ActionsFile); err != nil {
			return nil, err
		}
	}
	r.sampler = &sampler{connect: s.connect, schema: s.schema, name: s.Name, journal: r.samples}
	var err error
	if r.relays, err = newReplicas(s.Relays); err != nil {
		return nil, err
	}
	r.relays.binary, r.relays.env, r.relays.dir, r.relays.guard = s.Relay, s.Env, s.Dir, s.guard
	r.relays.note, r.relays.holder = r.note, r.sampler.holder
	if r.relays.config, err = s.configure(); err != nil {
		return nil, err
	}
	if err := r.describeRun(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *run) describeRun(ctx context.Context) error {
	run := journal.Run{
		Seed: r.Seed, Mode: r.Mode, Client: r.Client, Duration: r.Duration, Began: journal.Now(), Servers: r.describe(ctx), Relays: r.Relays,
		Topics: r.world.topics, Late: r.world.lateTopics(), Progress: r.progress, LeaseTTL: r.LeaseTTL, Faults: r.Faults,
		Limits: journal.Limits{
			DrainWithin: drainWithin,
			// Twice the relay's own bound of records in flight: as many may be acked and not settled.
			InFlight: 20_000,
			// A lease has to run out, Kafka's client gives up on a batch after three quarters of it, and brokers take ten
			// seconds to elect a leader.
			Aftermath: 2*r.LeaseTTL + 15*time.Second,
			RSS:       512 << 20, Files: 300, LogPerMinute: 600,
		},
	}
	if r.Relays > 0 {
		run.Commit = commit(ctx, r.Relay)
	}
	for _, s := range r.secrets {
		run.Canaries = append(run.Canaries, base64.StdEncoding.EncodeToString([]byte(s)))
	}
	return journal.WriteRun(r.Dir, run)
}

// note writes a line of the journal of actions.
func (r *run) note(a journal.Action) {
	if a.At == 0 {
		a.At = journal.Now()
	}
	r.actions.Append(a)
	r.Log.Info(strings.ReplaceAll(a.What, "_", " "), "fault", a.Fault, "replica", a.Replica, "leader", a.Leader, "detail", a.Detail)
}

func (r *run) close() error {
	var all []error
	for _, w := range []*journal.Writer{r.actions, r.ledger, r.witness, r.concurrent, r.fresh, r.uncommitted, r.samples, r.usage} {
		all = append(all, w.Close())
	}
	return errors.Join(all...)
}

// torture is the run: load and faults, healing, drain, reading back.
func (r *run) torture(ctx context.Context) error {
	faults, err := r.faults()
	if err != nil {
		return err
	}
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	var background sync.WaitGroup
	defer background.Wait()
	defer stopWatching() // before the wait
	background.Go(func() { r.sampler.run(watching) })
	background.Go(func() { r.relays.observe(watching, r.usage) })
	if r.progress != "" && r.kafka != nil {
		o := &operator{admin: r.admin, topics: append(r.topics(), r.world.again[0]), note: r.note}
		background.Go(func() { o.run(watching) })
	}
	concurrent, err := r.newReader(true, r.concurrent)
	if err != nil {
		return err
	}
	background.Go(func() { concurrent.run(watching) })
	for i := range r.relays.all {
		if err := r.relays.Start(i); err != nil {
			return err
		}
	}
	if err := r.leads(ctx); err != nil {
		return err
	}
	r.load(ctx, faults)
	// From here on nothing is cut short: without its end a run proves nothing.
	return r.finish(context.WithoutCancel(ctx), concurrent)
}

// faults are those that were asked for.
func (r *run) faults() ([]nemesis.Fault, error) {
	ground := &nemesis.Ground{Postgres: r.postgres, Standby: r.standby, Sync: r.Standby == StandbySync, Disk: r.disk, Kafka: r.kafka, Nodes: r.Nodes, LeaseTTL: r.LeaseTTL, Relays: r.relays,
		Random: rand.New(rand.NewPCG(r.Seed, 1<<32)), Outbox: r.Name, Connect: r.connect, MakeTopic: r.makeMissing, Fleet: r.fleet, PostgresNet: r.ways,
		Transactions: r.Mode == journal.ExactlyOnce, Schema: r.Schema, Replayed: r.world.punctual(), ReplayedTo: r.world.again}
	all := nemesis.All(ground)
	if len(r.Faults) == 0 {
		return all, nil
	}
	var names []string
	for _, f := range all {
		names = append(names, f.Name())
	}
	for _, name := range r.Faults {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("fault %q: possible here are %s", name, strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(all, func(f nemesis.Fault) bool { return !slices.Contains(r.Faults, f.Name()) }), nil
}

// leads waits for the first leader.
func (r *run) leads(ctx context.Context) error {
	for deadline := time.Now().Add(time.Minute); r.Relays > 0 && r.sampler.holder() == ""; pause(ctx, 50*time.Millisecond) {
		if ctx.Err() != nil || time.Now().After(deadline) || r.relays.allGone() {
			return fmt.Errorf("no relay has come to lead: see relay-1.1.log in %s", r.Dir)
		}
	}
	return nil
}

// calm is how long nothing is broken at first: a relay that has nothing in flight has little to lose.
const calm = 3 * time.Second

// load writes and breaks, for as long as the run lasts, and ends when all is whole and no writer writes.
func (r *run) load(ctx context.Context, faults []nemesis.Fault) {
	ctx, end := context.WithTimeout(ctx, r.Duration)
	defer end()
	r.note(journal.Action{What: journal.Writing})
	mean := time.Duration(float64(r.Writers) * meanEvents / r.Rate * float64(time.Second))
	var work sync.WaitGroup
	for i := range r.Writers {
		w := &writer{number: i + 1, world: r.world, connect: r.connect, insert: outbox.Writer{Schema: r.Schema}, ledger: r.ledger,
			written: &r.written, planner: newPlanner(r.world, rand.New(rand.NewPCG(r.Seed, uint64(i))), mean)}
		work.Go(func() { w.run(ctx) })
	}
	n := &nemesis.Nemesis{Faults: faults, Random: rand.New(rand.NewPCG(r.Seed, 1<<33)), Note: r.note,
		Least: r.Round, Most: r.Round}
	if r.Round == 0 {
		n.Least, n.Most = min(5*time.Second, r.Duration/8), min(20*time.Second, r.Duration/4)
	}
	pause(ctx, calm)
	if len(faults) > 0 {
		n.Run(ctx)
	}
	work.Wait()
}
