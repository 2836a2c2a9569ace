//go:build !cgo

package publisher

// HasLibrdkafka says whether this build has the client librdkafka, a C library: it needs cgo and a C compiler.
const HasLibrdkafka = false
