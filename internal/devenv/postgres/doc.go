// Package postgres runs a private PostgreSQL server for `relay dev`, tests and benchmarks.
//
// It finds the server binaries on the machine, makes a database cluster in a folder, and listens on a free port of
// 127.0.0.1 and on a unix socket in a folder that only the server's account may enter. The user is postgres, without
// a password. Root is dropped, because PostgreSQL refuses it.
//
// The promise: no process and no temporary folder survives the program that called [Start] (see package process);
// [Start] returns when the server takes connections, and it is the one that was started. What it does not promise:
// that another local user is kept out. The port of 127.0.0.1 is open to everybody on the machine.
//
//	stopped ──Start──► running ──Freeze──► frozen
//	   ▲                │   ▲  ◄──Thaw────────┘
//	   │ Stop        Kill   StartAgain, Restart
//	   └────────────  ▼───┘
//	                killed
//
// A server can be copied ([Server.Standby]). The copy follows it, commits may wait for it or not, and it takes over when
// it is promoted:
//
//	primary ──Standby──► standby ──Detach──► detached: commits do not arrive
//	                       │  ◄────Attach───────┤
//	                       └───────Promote──────┴──► primary of another timeline
//
// As root on Linux a server can have a disk of its own, which [Server.FillDisk] fills ([Options].DiskMB, WALDiskMB).
package postgres
