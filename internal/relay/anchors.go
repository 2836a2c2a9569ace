package relay

import (
	"context"
	"time"
)

// takeAnchors enters what settling has learnt, and forgets what no window can ask for any more.
func (f *feed) takeAnchors() {
	for {
		select {
		case a := <-f.fresh:
			f.anchors.Add(a)
			f.anchored = time.Now()
		default:
			f.anchors.Forget(f.cursor.From.Xmin)
			return
		}
	}
}

// watchOpen takes an anchor now and then while nothing comes and somebody's transaction is open. It may be writing
// millions of events. A floor above its beginning can only come from an anchor of before its commit, and nothing is
// settled now; without one, whoever asks how much is pending while it is delivered scans all that is delivered of it.
func (f *feed) watchOpen(ctx context.Context) error {
	if len(f.cursor.From.InProgress) == 0 || time.Since(f.anchored) < f.anchorEvery {
		return nil
	}
	a, err := f.reader.Anchor(ctx)
	if err != nil {
		return err
	}
	f.anchors.Add(a)
	f.anchored = time.Now()
	return nil
}

// watchSequence checks the sequence now and then while things happen in the cluster of which no row is found. They may be
// rows whose numbers lie below every floor, because somebody has set the sequence back.
func (f *feed) watchSequence(ctx context.Context) error {
	if !f.unexplained || time.Since(f.counted) < f.anchorEvery {
		return nil
	}
	f.unexplained, f.counted = false, time.Now()
	return f.reader.CheckSequence(ctx, f.anchors)
}
