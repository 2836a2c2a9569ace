package nemesis

import "context"

// topicLate makes a topic that events were written to, and that was missing: what is parked for it goes.
type topicLate struct{ ground *Ground }

func (*topicLate) Name() string { return "topic_late" }
func (*topicLate) Kind() Kind   { return Kind{Target: targetTopics, Instant: true} }

func (f *topicLate) Start(ctx context.Context) (Note, error) {
	name, err := f.ground.MakeTopic(ctx)
	if name == "" && err == nil {
		err = ErrSpent
	}
	return Note{Detail: name}, err
}

func (*topicLate) Heal(context.Context) error { return nil }
