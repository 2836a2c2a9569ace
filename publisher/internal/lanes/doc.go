// Package lanes is what every Kafka client of ours needs between Send and the client's own queue: which partition a
// record goes to, whether it may go now, and how old the oldest record without a report is.
//
// A lane is one partition as a producer sends to it. What this package promises: a lane that has not acked anything yet
// takes one record at a time (slow start); a topic that gets more partitions changes those of its keys only while
// nothing of it is in flight; records that the topic cannot hold are refused before they are sent; and whoever waits is
// woken by the report that it waits for. It knows no client: those tell it what was sent and what was reported.
//
// One goroutine sends (Enter, Sent, Withdrawn), one reports (Report); the watcher of topics and the watcher of
// deadlines are goroutines of their own. The other methods are safe from any.
package lanes
