// Package fault lets a test interrupt the relay exactly between two steps.
//
// In a normal build [At] does nothing and is compiled away. Built with the tag "faults", the environment variable
// RELAY_FAULT names points and what happens there, separated by commas:
//
//	RELAY_FAULT=settle-sent:kill@3,release-acked:stop
//
// Actions are kill (the process kills itself with SIGKILL), stop (SIGSTOP: a frozen process that may be thawed),
// sleep (for ten seconds) and error (the step fails). @n is the n-th time the point is passed; without it the first.
package fault
