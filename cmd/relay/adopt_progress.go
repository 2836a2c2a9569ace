package main

import (
	"context"
	"fmt"
	"time"

	"github.com/outboxrelay/relay/internal/adopt"
)

// adoptProgress shows how far a backfill is: on a terminal a few times a second, elsewhere every ten seconds.
type adoptProgress struct {
	g     *globals
	table string
	rows  int64 // there are about so many in all; 0 is not known
	quiet bool
	begun time.Time
	first int64 // rows that were copied before this run
	told  time.Time
}

// looking says what is looked through, which takes as long as reading the table does.
func (r *adoptRun) looking(ctx context.Context) error {
	if r.asJSON {
		return nil
	}
	rows, bytes, err := r.plan.Source.Size(ctx, r.adopter.Conn)
	if err != nil {
		return err
	}
	about := ""
	if rows > 0 {
		about = "about " + count(int(rows), "row") + ", "
	}
	fmt.Fprintf(r.g.stderr, "looking through %s for rows that can be no events: %s%s\n", r.plan.Source.Name, about, bytesInWords(bytes))
	return nil
}

func (p *adoptProgress) tell(now adopt.Progress) {
	every, begin, end := 10*time.Second, "", "\n"
	if isTerminal(p.g.stderr) {
		every, begin, end = 250*time.Millisecond, "\r", "\x1b[K"
	}
	if p.quiet || time.Since(p.told) < every {
		return
	}
	p.told = time.Now()
	fmt.Fprint(p.g.stderr, begin, p.line(now, time.Since(p.begun)), end)
}

// line is what is to be told after so long.
func (p *adoptProgress) line(now adopt.Progress, after time.Duration) string {
	of, speed := "", ""
	if p.rows > 0 {
		of = " of " + grouped(p.rows)
	}
	if copied := now.Rows - p.first; copied > 0 && after >= time.Second {
		rate := float64(copied) / after.Seconds()
		speed = fmt.Sprintf(", %s/s", grouped(int64(rate)))
		if left := p.rows - now.Rows; left > 0 {
			speed += fmt.Sprintf(", %v left", (time.Duration(float64(left) / rate * float64(time.Second))).Round(time.Second))
		}
	}
	if now.Waiting > 0 {
		speed = fmt.Sprintf("; %s of newer rows moved behind them", count(int(now.Waiting), "event"))
	}
	return fmt.Sprintf("%s: %s%s copied%s", p.table, grouped(now.Rows), of, speed)
}
