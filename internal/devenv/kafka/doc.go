// Package kafka runs a real Apache Kafka, one node or three, for tests and benchmarks.
//
// Kafka comes as ordinary Maven artifacts: pom.xml names them, [Jars] has Maven put them into a cache folder once
// for the machine's user, and each node is a Java process, broker and KRaft controller in one, on ports of 127.0.0.1
// that stay its own when it is stopped, killed and started again. Topics are never created by themselves.
//
// Clients come to a plain listener, or through a proxy before it (Options.Advertise; package proxy makes them), or to
// listeners with TLS, SASL or a proxy of their own that a test asks for (Options.Listeners). Brokers talk among
// themselves on another one, so that what a proxy breaks is the clients' way alone.
//
// The promise: no process and no temporary folder survives the program that called [Start] (see package process);
// Start returns when every node answers a client and knows all the others, and the answers come from this cluster:
// they are compared with its random cluster id. What is not promised: speed. Small heaps and a quick compiler make
// a node start in seconds; give HeapMB 1024 or more when throughput is measured.
//
//	down ──Start, StartNode──► up ──FreezeNode──► frozen
//	  ▲                         │  ◄──ThawNode─────┘ │
//	  └──── StopNode, KillNode ─┴────────────────────┘
package kafka
