// Package nemesis breaks what a torture run stands on, and heals it again.
//
// A [Fault] is one way to break something: a small type in a file of its own. [All] gives those that are possible on a
// [Ground]: what cannot be done to somebody's own servers is left out. [Nemesis] draws a few of them each round, the
// empty set included so that there is progress, begins them, waits, heals them, and writes each step down.
//
//	round: draw ──► Start each ──► 5 to 20 s ──► Heal each ──► next round
//
// The seed decides what is drawn and how long a round lasts. It does not decide what the servers are doing at that
// moment: two runs with one seed have the same plan, not the same history.
//
// To add a fault: write the type, and add it to All. Faults of one Target are never drawn into the same round.
package nemesis
