// Package rig is what a measurement stands on: a PostgreSQL that syncs, a real Kafka, warmed; a fresh database and topic
// for each run; processes with their logs; and what /proc says that they used.
//
// The promise: nothing that it starts outlives the program, and what a figure is made of is read from the kernel, not
// from what is measured. [Load] tells how much of the machine went to others while something was measured.
//
// It needs Linux, for /proc.
package rig
