package relay

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/publisher"
)

const (
	// lookEvery is how often the runner looks while something stands aside that may be cured at any moment.
	lookEvery = 500 * time.Millisecond
	// restMost is how long the runner sleeps when it knows of nothing to do: what a person does is noticed within this.
	restMost = time.Second
	// gather is the least time between two shipments of what has a time of its own, unless there is a whole shipment:
	// to ship each event at its own moment would be a transaction for each.
	gather = 50 * time.Millisecond
	// retryTopic is how long a topic that took no record is left alone.
	retryTopic = 5 * time.Second
	// askFirst and askLast are how long a topic in trouble is not asked for again, at first and at last.
	askFirst = 250 * time.Millisecond
	askLast  = time.Second
	// shipmentRows and shipmentBytes bound what the runner reads at once.
	shipmentRows  = 500
	shipmentBytes = 8 << 20
	// carefulShipments are sent one event at a time after a record was refused, to find the one that is to blame.
	carefulShipments = 2 * shipmentRows
	// restAfter closes the runner's producer when it was not needed for this long.
	restAfter = time.Minute
	// keysAtOnce bounds one question about keys.
	keysAtOnce = 1000
)

// runner is the parked runner: it publishes parked events whose hindrance is gone, in order, and deletes them once
// they are acked. It runs inside a session, fenced by its epoch, on a connection and a producer of its own.
type runner struct {
	*Options
	yard  *store.Yard
	aside *aside
	trust *trust
	maker *recordMaker
	dock  *dock
	state *State

	careful    int  // shipments that are still sent one event at a time
	few        int  // rows that a shipment may have because they are large; 0: shipmentRows
	stuck      bool // in this round somebody's open transaction had all there was to ship
	taken      taken
	pause      time.Time              // after a fault of the broker's: do nothing before
	places     map[string]store.Place // how far each topic's release has come
	recheck    map[string]bool        // topics whose standing keys have to be looked at
	operations int64
	away       *outage
	letterless time.Time // the dead-letter topic took nothing: not before
}

// load learns from the table which topics and keys stand aside. It has to run before feed does.
func (r *runner) load(ctx context.Context) error {
	work, err := r.yard.Look(ctx)
	if err != nil {
		return err
	}
	r.operations = work.Operations
	waiting, err := r.yard.WaitingTopics(ctx)
	if err != nil {
		return err
	}
	for _, topic := range waiting {
		r.aside.standTopic(topic, whyReleasing)
	}
	if r.SkipDead {
		return nil
	}
	keys, err := r.yard.DeadKeys(ctx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		r.aside.standKey(k.Topic, k.Key)
	}
	return nil
}

// run works until ctx ends. Its errors are PostgreSQL's; Kafka's are waited out here.
func (r *runner) run(ctx, stop context.Context) error {
	defer r.dock.close()
	if r.dock.tx != nil {
		patient, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(stop, cancel)()
		r.dock.tx.patient = patient
	}
	for ctx.Err() == nil && stop.Err() == nil {
		work, more, err := r.round(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err := r.tellTaken(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if more {
			continue
		}
		r.dock.rest(restAfter)
		r.sleep(ctx, stop, r.idle(work))
	}
	return nil
}

// sleep ends early when feed has parked something.
func (r *runner) sleep(ctx, stop context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.aside.nudge:
	case <-stop.Done():
	case <-ctx.Done():
	}
}

// idle is how long nothing is to be done, as far as the last look shows.
func (r *runner) idle(work store.Work) time.Duration {
	now := time.Now()
	most := r.aside.nextTopic(now, restMost)
	switch {
	case now.Before(r.pause):
		return lookEvery
	case r.stuck:
		return lookEvery
	case len(r.recheck) > 0, work.Letters && r.DeadLetterTopic != "":
		most = min(most, lookEvery)
	}
	return max(min(work.Next, most), gather)
}

// round does a bounded piece of all that is due, so that no lane waits long for another. It says whether there is
// surely more.
func (r *runner) round(ctx context.Context) (work store.Work, more bool, err error) {
	r.stuck, r.taken.rows = false, 0
	if work, err = r.yard.Look(ctx); err != nil {
		return work, false, err
	}
	if work.Operations != r.operations {
		if err := r.afterOperations(ctx); err != nil {
			return work, false, err
		}
		r.operations = work.Operations
	}
	if time.Now().Before(r.pause) {
		return work, false, nil
	}
	for _, lane := range []struct {
		state string
		due   bool
	}{{Scheduled, work.Scheduled}, {Replay, work.Replay}} {
		if !lane.due {
			continue
		}
		full, err := r.due(ctx, lane.state)
		if err != nil {
			return work, false, err
		}
		more = more || full
	}
	if work.Letters && r.DeadLetterTopic != "" {
		if err := r.letters(ctx); err != nil {
			return work, false, err
		}
	}
	for _, topic := range r.aside.dueTopics(time.Now()) {
		left, err := r.release(ctx, topic)
		if err != nil {
			return work, false, err
		}
		more = more || left
	}
	for _, topic := range slices.Collect(maps.Keys(r.recheck)) {
		if err := r.checkKeys(ctx, topic); err != nil {
			return work, false, err
		}
	}
	return work, more, nil
}

// afterOperations looks at everything again: a person has retried, edited or dropped events.
func (r *runner) afterOperations(ctx context.Context) error {
	topics, err := r.yard.WaitingTopics(ctx)
	if err != nil {
		return err
	}
	for _, topic := range topics {
		r.aside.standTopic(topic, whyReleasing)
		delete(r.places, topic)
	}
	for _, topic := range r.aside.topicsWithKeys() {
		r.recheck[topic] = true
	}
	return nil
}

// due ships one batch of what has a time of its own, and says whether it was a full one. An event whose key or topic
// stands aside joins those.
func (r *runner) due(ctx context.Context, state string) (full bool, err error) {
	limit := r.limit()
	shipped, err := r.ship(ctx, func(row func(*store.ParkedRow) error) (int, error) {
		return r.yard.Due(ctx, state, limit, row)
	}, func(row *store.ParkedRow) verdict {
		topic := string(row.Topic)
		if why := r.aside.trouble(topic); why != "" {
			return verdict{state: Held, reason: why}
		}
		if state == Replay {
			return send
		}
		if why := r.aside.behind(topic, row.Key); why != "" {
			return verdict{state: Behind, reason: why}
		}
		return send
	})
	return shipped.rows == limit && !shipped.stuck, err
}

// release ships a batch of a topic that stands aside, and opens the topic when nothing is left to release.
func (r *runner) release(ctx context.Context, topic string) (more bool, err error) {
	producer, err := r.dock.ready()
	if err != nil {
		return false, r.wait(err)
	}
	if why := notAllowed(r.Allow, topic); why != "" {
		r.aside.postpone(topic, why, time.Now().Add(time.Minute))
		return false, nil
	}
	if _, err := producer.Topic(ctx, topic); err != nil {
		if !publisher.TopicTrouble(err) {
			return false, r.wait(err)
		}
		r.aside.askAgain(topic, publisher.Reason(err))
		return false, nil
	}
	r.aside.releasing(topic)
	generation, quiet := r.aside.look(topic, nil)
	place := r.places[topic]
	shipped, err := r.ship(ctx, func(row func(*store.ParkedRow) error) (int, error) {
		return r.yard.InOrder(ctx, topic, place, r.limit(), !r.SkipDead, func(p *store.ParkedRow) error {
			if err := row(p); err != nil {
				return err
			}
			place = p.Place()
			return nil
		})
	}, func(*store.ParkedRow) verdict { return send })
	if err != nil || !shipped.clean {
		return false, err
	}
	if shipped.taken > 0 { // from the same place again: what comes behind a taken row may not pass it
		return !shipped.stuck, nil
	}
	if shipped.rows > 0 {
		r.places[topic] = place
		return true, nil
	}
	delete(r.places, topic)
	if place == (store.Place{}) && quiet && r.aside.open(topic, nil, generation) {
		r.Log.Info("topic goes on: nothing of it is held any more", "topic", topic)
		r.recheck[topic] = true
		return false, nil
	}
	return place != (store.Place{}), nil // once more from the start: rows may have come in behind us
}

// checkKeys opens the keys of a topic of which nothing is parked any more, and has released what no dead event holds
// back.
func (r *runner) checkKeys(ctx context.Context, topic string) error {
	delete(r.recheck, topic)
	for keys := range slices.Chunk(r.aside.keysOf(topic), keysAtOnce) {
		generations := map[string]uint64{}
		for _, key := range keys {
			if generation, ok := r.aside.look(topic, &key); ok {
				generations[key] = generation
			} else {
				r.recheck[topic] = true
			}
		}
		remains, err := r.yard.Remains(ctx, topic, keys)
		if err != nil {
			return err
		}
		for key, generation := range generations {
			dead, some := remains[key]
			switch {
			case some && !dead:
				r.aside.standTopic(topic, whyReleasing)
				r.recheck[topic] = true
			case !some && !r.aside.open(topic, &key, generation):
				r.recheck[topic] = true
			}
		}
	}
	return nil
}

// limit is how many rows the next shipment may have.
func (r *runner) limit() int {
	switch {
	case r.careful > 0:
		return 1
	case r.few > 0:
		return r.few
	}
	return shipmentRows
}

// measure lets the next shipment read about as many rows as it can take: those behind shipmentBytes are read in vain.
func (r *runner) measure(rows int, bytes int64) {
	switch {
	case bytes > shipmentBytes:
		r.few = rows
	case r.few > 0 && rows == r.few:
		if r.few *= 2; r.few >= shipmentRows {
			r.few = 0
		}
	}
}

// wait notes a fault of Kafka's: the runner does nothing for a while. The session goes on.
func (r *runner) wait(err error) error {
	r.dock.close()
	r.pause = time.Now().Add(time.Second)
	r.away.is(err)
	return nil
}
