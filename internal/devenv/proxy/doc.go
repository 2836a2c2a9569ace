// Package proxy stands between a client and a server of a test, and breaks what passes.
//
//	client ──► Wire ──► TCP ──► broker        a Node; a Fleet makes one before each broker of a cluster
//	           knows     knows
//	           requests  bytes
//
// [TCP] knows nothing of what it carries: it can cut, hang, delay, slow down, and end a connection after so many
// bytes. It is Shopify's toxiproxy, used as a library. It serves PostgreSQL as well as Kafka, TLS or not.
//
// [Wire] reads the frames of Kafka's protocol, and can hold, cut, swallow, delay or copy one request, or one answer, of
// one API: the commit of a transaction that the broker carried out and the client never hears of, the one that arrives
// when its client is long dead. It cannot look into TLS.
//
// The promise: what is not touched passes byte for byte, in order. A proxy keeps its port while it is cut, and when
// its server is gone. Close ends every connection, and leaves no goroutine but those of [Leaks].
//
// What is not promised: speed. A page of a megabyte passes in milliseconds, but nothing should be measured through
// here: that is what bench/distance is for. And nothing is reordered within a connection: who holds one frame holds
// what comes behind it.
package proxy
