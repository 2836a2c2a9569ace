// Package alarm waits for a moment to some hundredths of a millisecond.
//
// The promise: never before the moment, and on Linux not much after it. Go's own timers do not promise that there: they
// ride on epoll, so that a program with nothing to do sleeps in whole milliseconds. Elsewhere they are exact, and are
// what is used.
//
// An alarm waits, rings, and can wait again; closed, it never rings.
package alarm
