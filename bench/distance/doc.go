// Package distance puts a way of some milliseconds between a client and a server, so that what a round trip costs can be
// measured on one machine.
//
//	client ──► reads, notes the time ──► queue ──► writes when due ──► server      and the same back
//
// The promise: every byte goes on half a round trip after it was read, in order, and nothing waits for anything else:
// what comes while other bytes are on their way is on its way, too, up to 64 MiB a direction of a connection. A way of
// 0 ms passes the same queue, so that ways differ by their length alone. How late bytes really went on is counted, and
// [Measure] says what a way is like, so that nobody has to believe it.
//
// It is not a network. No packet is lost, no window grows slowly, a new connection costs no round trip. What is to break
// belongs to internal/devenv/proxy.
package distance
