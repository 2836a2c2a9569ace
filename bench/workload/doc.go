// Package workload has what systems are put under, a function each: it opens a system on a fresh database and topic,
// does its work, and returns a [figures.Run].
//
// Whatever was delivered is read back by a consumer that shares no code with what is measured: each event has to be
// there once, byte for byte, in the order of its key. A difference is the run's Fault, and a run with a fault counts
// nowhere. An error says that the run could not be made at all.
//
// Rates come from the offsets of the topic, from the first record that was seen to the last; what a system needs to
// start is not in them. Loads are written before a drain begins, so a drain's costs are those of delivering alone.
package workload
