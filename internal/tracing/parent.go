package tracing

import (
	"encoding/hex"
)

// Header names of W3C Trace Context, as applications write them into an event.
const (
	TraceparentHeader = "traceparent"
	TracestateHeader  = "tracestate"
)

// MaxState is the longest tracestate that is passed on, as W3C Trace Context asks for at least.
const MaxState = 512

// Parent is the span that an event's insert belongs to.
type Parent struct {
	Trace  [16]byte
	SpanID [8]byte
	Flags  byte
}

const sampledFlag = 1

// Sampled reads a traceparent. It says false when that is none, or when the application did not sample its trace.
// Versions after 00 are read as far as they are like it, as W3C Trace Context asks for.
func Sampled(traceparent []byte) (p Parent, ok bool) {
	const length = 55 // 00-<32>-<16>-<2>
	t := traceparent
	if len(t) < length || t[2] != '-' || t[35] != '-' || t[52] != '-' || len(t) > length && t[length] != '-' {
		return p, false
	}
	var version, flags [1]byte
	if !lowerHex(version[:], t[:2]) || version[0] == 0xff || version[0] == 0 && len(t) != length ||
		!lowerHex(p.Trace[:], t[3:35]) || !lowerHex(p.SpanID[:], t[36:52]) || !lowerHex(flags[:], t[53:55]) {
		return Parent{}, false
	}
	p.Flags = flags[0]
	if p.Trace == [16]byte{} || p.SpanID == [8]byte{} || p.Flags&sampledFlag == 0 {
		return Parent{}, false
	}
	return p, true
}

// lowerHex decodes digits, of which only the lower-case ones are valid here.
func lowerHex(into, digits []byte) bool {
	for _, d := range digits {
		if 'A' <= d && d <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(into, digits)
	return err == nil
}
