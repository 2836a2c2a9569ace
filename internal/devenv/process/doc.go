// Package process starts servers that never outlive the program that started them.
//
// The promise: however the program ends (returns, os.Exit, a crash, kill -9), the processes started through a
// [Guard] end within seconds, and so do the temporary folders they worked in. It holds on Linux and on macOS.
//
// How: a Guard is a tiny shell process that reads from a pipe whose only writer is the program. The program tells it
// what runs; the end of the pipe means that the program is gone, and the shell ends what still runs and removes the
// folders. A parent-death signal would be simpler, but it exists on Linux only, it fires when the thread that forked
// ends, it does not wake a frozen process, and it leaves the folder.
//
//	program ──"run 4711"──► pipe ──► guard (sh) ──end of file──► signal, wait, kill, rm -rf
//	   └──"go"──► server waits for this word before it becomes the real program
//
// The word "go" closes the gap between fork and registration: a server whose program died before it was registered
// reads the end of its input and leaves.
//
// What is not promised: somebody who kills the guard and the program both with signal 9 leaves the server running;
// the next [OpenFolder] with the same prefix or path ends it and removes the folder.
//
// Nothing here keeps a goroutine, so a shared server does not disturb tests that look for leaked ones.
package process
