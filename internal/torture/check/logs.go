package check

import (
	"bytes"
	"encoding/json"
	"time"
)

// logLine is a line of a relay's log.
type logLine struct {
	Time    time.Time `json:"time"`
	Level   string    `json:"level"`
	Message string    `json:"message"`
	Epoch   int64     `json:"epoch"`
	Reason  string    `json:"reason"`
	Client  string    `json:"client"` // name and version
}

// lines are those that are lines of the log; a panic is none.
func (l Log) lines() (all []logLine) {
	for text := range bytes.Lines(l.Text) {
		var line logLine
		if json.Unmarshal(text, &line) == nil {
			all = append(all, line)
		}
	}
	return all
}
