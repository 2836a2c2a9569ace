//go:build cgo

package librdkafka

// inFlight is the requests to a broker that wait for their answers: five are the most that keeps the order. It is a
// variable for the linker alone, so that `make bench BENCH_ONLY=round-trips` can build a relay to compare with (-ldflags
// "-X …librdkafka.inFlight=1"). No configuration reaches it: CheckProperties refuses the property.
var inFlight = "5"
