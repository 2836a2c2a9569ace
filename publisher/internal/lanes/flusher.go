package lanes

import "sync"

// Flusher lets a client send at once what it holds back for company, whenever it is asked to. A client's own call waits
// until all is acked, so it is made on a goroutine of its own. Its methods are safe from any goroutine.
type Flusher struct {
	asked chan struct{}
	stop  chan struct{}
	once  sync.Once
	work  sync.WaitGroup
}

// NewFlusher has flush called once after each Ask, or after several together. flush may wait, but not for ever: Stop
// waits for it.
func NewFlusher(flush func()) *Flusher {
	f := &Flusher{asked: make(chan struct{}, 1), stop: make(chan struct{})}
	f.work.Go(func() {
		for {
			select {
			case <-f.asked:
				flush()
			case <-f.stop:
				return
			}
		}
	})
	return f
}

// Ask does not wait. After Stop nothing comes of it.
func (f *Flusher) Ask() {
	select {
	case f.asked <- struct{}{}:
	default: // the call that is to come does for both
	}
}

// Stop returns when flush runs no more. Safe twice.
func (f *Flusher) Stop() {
	f.once.Do(func() { close(f.stop) })
	f.work.Wait()
}
