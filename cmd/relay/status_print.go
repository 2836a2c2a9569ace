package main

import (
	"fmt"
	"strings"
	"time"
)

// printStatus prints the page; over the last one when it is watched on a terminal.
func (g *globals) printStatus(r statusReport, watched bool) error {
	s := g.styleFor(g.stdout)
	var b strings.Builder
	var audits []string
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", label, fmt.Sprintf(format, args...))
	}
	line("outbox", "%s in schema %s", s.bold(r.Name), r.Schema)
	switch {
	case !r.Known:
		line("leader", "%s", s.warn("none, and none of this name has ever run"))
	case r.Leader == nil:
		line("leader", "%s, last epoch %d", s.bad("none"), r.Epoch)
	default:
		line("leader", "%s, epoch %d, lease for another %s", s.good(r.Leader.Holder), r.Epoch,
			ago(time.Duration(r.Leader.RemainingSeconds*float64(time.Second))))
	}
	if r.Pending == 0 {
		line("lag", "%s", s.good("nothing pending"))
	} else {
		about := ""
		if r.PendingAbout {
			about = "about "
		}
		line("lag", "%s%s pending, the oldest for %s", about, count(int(r.Pending), "event"), ago(time.Duration(r.Lag*float64(time.Second))))
	}
	line("rate", "%.0f events/s, %s delivered in all", r.Rate, grouped(r.Delivered))
	if r.SettledAt != nil {
		line("settled", "%s ago", ago(r.Time.Sub(*r.SettledAt)))
	}
	line("parked", "%s", parkedInWords(r.Parked, s))
	if r.LastError != nil {
		at := ""
		if r.LastError.At != nil {
			at = ", " + ago(r.Time.Sub(*r.LastError.At)) + " ago"
		}
		line("error", "%s%s", s.bad(readable([]byte(r.LastError.Message), false)), at)
	}
	fmt.Fprintf(&b, "\n%s\n", s.faint(fmt.Sprintf("%-8s %14s %12s %14s %16s", "ring", "rows (about)", "size", "settled", "last seq")))
	for _, slot := range r.Ring {
		if slot.Difference != nil {
			audits = append(audits, differenceInWords(slot.Difference))
		}
		label := fmt.Sprintf("slot %d", slot.Slot)
		if slot.Current {
			label += " *"
		}
		fmt.Fprintf(&b, "%-8s %14s %12s %14s %16s\n", label, grouped(slot.RowsAbout), bytesInWords(slot.Bytes),
			grouped(slot.SettledRows), grouped(slot.LastSeq))
	}
	for _, words := range audits {
		fmt.Fprintf(&b, "\n%s: %s; see relay audit\n", s.bad("the books do not balance"), words)
	}
	page := b.String()
	switch {
	case watched && isTerminal(g.stdout):
		page = "\x1b[H\x1b[2J" + page
	case watched:
		page += "\n"
	}
	_, err := fmt.Fprint(g.stdout, page)
	return err
}

// parkedInWords lists the states that have events, the worst first.
func parkedInWords(parked map[string]int64, s style) string {
	var parts []string
	for _, state := range []string{"dead", "held", "behind", "replay", "scheduled"} {
		n := parked[state]
		if n == 0 {
			continue
		}
		text := grouped(n) + " " + state
		if state == "dead" || state == "held" {
			text = s.bad(text)
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
