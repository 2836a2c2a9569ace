package check

import (
	"bytes"
	"encoding/base64"
	"strings"
	"time"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

// liveness is I11.
func (c *checker) liveness() {
	drained := false
	for _, a := range c.book.Actions {
		switch a.What {
		case journal.RelayGone:
			c.violated("I11", "process %d of replica %d ended by itself at %s: %s", a.Process, a.Replica, clock(a.At), a.Detail)
		case journal.NotReady:
			c.violated("I11", "replica %d is not ready after the drain: %s", a.Replica, a.Detail)
		case journal.Drained:
			drained = true
			if !a.OK {
				c.violated("I11", "not all was delivered within %v after the healing: %s", c.book.Run.Limits.DrainWithin, a.Detail)
			}
		}
	}
	if !drained {
		c.violated("I11", "the run ended before the drain was waited for")
	}
}

// resources is the first half of I12.
func (c *checker) resources() {
	type process struct{ replica, process int }
	window := map[process][]journal.Usage{} // of the last minute
	loud := map[process]bool{}
	for _, u := range c.book.Usage {
		c.figures.RSSMax = max(c.figures.RSSMax, u.RSS)
		c.figures.FilesMax = max(c.figures.FilesMax, u.Files)
		p := process{u.Replica, u.Process}
		for len(window[p]) > 0 && u.At-window[p][0].At > time.Minute.Microseconds() {
			window[p] = window[p][1:]
		}
		window[p] = append(window[p], u)
		said := u.LogLines - window[p][0].LogLines
		c.figures.LogPerMinuteMax = max(c.figures.LogPerMinuteMax, said)
		if said > int64(c.book.Run.Limits.LogPerMinute) && !loud[p] {
			loud[p] = true
			c.violated("I12", "replica %d wrote %d lines of log in the minute to %s", u.Replica, said, clock(u.At))
		}
	}
	if limit := c.book.Run.Limits.RSS; c.figures.RSSMax > limit {
		c.violated("I12", "a relay had %d MiB of memory, the limit is %d", c.figures.RSSMax>>20, limit>>20)
	}
	if limit := c.book.Run.Limits.Files; c.figures.FilesMax > limit {
		c.violated("I12", "a relay had %d files open, the limit is %d", c.figures.FilesMax, limit)
	}
}

// client is I14. A run proves nothing of a client that was not there. Whoever led has said, before, what it runs; one that
// was killed in its first moment may not have come to it. Of relays that are not ours nothing is known, and journals from
// before there were two clients do not name one.
func (c *checker) client() {
	run := c.book.Run
	if run.Relays == 0 || run.Client == "" {
		return
	}
	said := 0
	for _, l := range c.book.Logs {
		client, led := "", false
		for _, line := range l.lines() {
			switch line.Message {
			case "starting":
				client, _, _ = strings.Cut(line.Client, " ")
				said++
			case "leading":
				led = true
			}
		}
		if client == "" && led || client != "" && client != run.Client {
			c.violated("I14", "replica %d, process %d ran the Kafka client %q, and was told to run %q", l.Replica, l.Process, client, run.Client)
		}
	}
	if said == 0 {
		c.violated("I14", "no relay has said which Kafka client it runs; they were told to run %q", run.Client)
	}
}

// secrets is the second half of I12: what must not stand in a log, in the database's notes or in a report.
func (c *checker) secrets() {
	var canaries [][]byte
	for _, text := range c.book.Run.Canaries {
		canary, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(canary) == 0 {
			c.violated("I12", "run.json has a canary that is not base64, so logs were not searched for it")
			continue
		}
		canaries = append(canaries, canary)
	}
	for _, l := range c.book.Logs {
		for _, canary := range canaries {
			if bytes.Contains(l.Text, canary) {
				c.violated("I12", "the log of replica %d, process %d holds a secret", l.Replica, l.Process)
			}
		}
		for _, word := range []string{"panic:", "fatal error:", "DATA RACE", "goroutine 1 ["} {
			if bytes.Contains(l.Text, []byte(word)) {
				c.violated("I12", "the log of replica %d, process %d says %q", l.Replica, l.Process, word)
			}
		}
	}
	for _, a := range c.book.Actions {
		for _, canary := range canaries {
			if bytes.Contains([]byte(a.Detail), canary) {
				c.violated("I12", "what was noted at %s (%s) holds a secret", clock(a.At), a.What)
			}
		}
	}
}
