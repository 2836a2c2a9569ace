// Package clients has the Kafka clients of this build. One made without cgo or a C compiler has franz-go only.
package clients
