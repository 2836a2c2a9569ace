package relay

import (
	"sync/atomic"

	"github.com/outboxrelay/relay/publisher"
)

// cutter makes the first producer that is opened report every record as cut, once it is stored: the answer was lost.
type cutter struct{ opened atomic.Int64 }

func (c *cutter) around(open func(publisher.Reports) (publisher.Producer, error)) func(publisher.Reports) (publisher.Producer, error) {
	return func(r publisher.Reports) (publisher.Producer, error) {
		if c.opened.Add(1) > 1 {
			return open(r)
		}
		return open(cut{r})
	}
}

type cut struct{ publisher.Reports }

func (c cut) Acked(tag any, _ int32, _ int64) {
	c.Failed(tag, publisher.NewError(publisher.ClassCut, "the answer was lost"))
}
