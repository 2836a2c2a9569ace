// Command bench measures the relay and what it is compared with, on servers that it starts itself: `make bench`.
//
//	bench run       measure; prints tables, writes bench.json and bench.svg
//	bench report    make docs/performance.md from a bench.json
//
// The parts: rig (servers, processes, /proc), distance (a way of some milliseconds to a server), sut (systems under
// test), workload (what they are put under, and the reading back), figures (medians, ratios, tables, plot, page). Each round runs every system once, one after the other,
// so that a ratio compares neighbours in time.
//
// Exit codes: 0 measured, 1 failed at run time, 2 wrong usage, 3 measured and a system lost, doubled, changed or
// reordered something.
package main
