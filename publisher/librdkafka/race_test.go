//go:build cgo && race

package librdkafka

const raceDetector = true
