// Relay-torture breaks servers under the relay, on purpose, and says whether an event was lost, invented, doubled or out
// of order. docs/torture.md tells how to read what it says.
package main
