package proxy

import "go.uber.org/goleak"

// Leaks leave out of a look for leaked goroutines those that toxiproxy (2.5.0 as well as 2.12.0) may keep for ever when
// a connection ends: nobody takes the bytes any more that they have yet to hand on, and nobody tells them to stop.
func Leaks() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"), // holds the bytes behind them
	}
}
