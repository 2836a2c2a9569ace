//go:build cgo && !race

package librdkafka

const raceDetector = false
