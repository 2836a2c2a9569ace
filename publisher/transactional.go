package publisher

import "context"

// Transactional is a Producer whose records become visible together. Records may be sent only between Begin and Commit
// or Abort. These three are for the goroutine that calls Send.
//
// Opening one fences every older producer of the same transactional id, and ends what that one had left open.
type Transactional interface {
	Producer

	// Begin starts a transaction.
	Begin() error

	// Commit makes visible all that was sent since Begin. Call it when every record has been reported Acked. nil says
	// that it is done; any error that it is not known whether: close the producer, and read what Kafka has.
	//
	// clean false beside nil says that the request may have been sent twice, and that the late one could end the next
	// transaction of this producer: close it and open a new one first.
	Commit(ctx context.Context) (clean bool, err error)

	// Abort discards what was sent since Begin, as far as the cluster can be reached within ctx. Close the producer
	// afterwards, whatever it says: a late copy of this request would end the next transaction.
	Abort(ctx context.Context) error
}
