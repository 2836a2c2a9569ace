package figures

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

const (
	width, height      = 860, 300 // of one panel
	left, top          = 70, 30
	plotWide, plotHigh = 560, 220
	bin                = 0.25 // seconds over which a rate is taken
)

// colors are told apart by people who cannot tell red from green (after Okabe and Ito).
var colors = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#999999", "#7b3294"}

// Plot draws a workload's first round as SVG: what is still to be delivered over time, and the rate over time.
func (r *Report) Plot(workload string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, 2*height)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	var lag, rate []line
	for _, system := range r.Systems(workload) {
		for _, run := range r.of(workload, system) {
			if len(run.Samples) > 1 {
				lag, rate = append(lag, lagOf(run)), append(rate, rateOf(run))
				break
			}
		}
	}
	panel(&b, 0, workload+": lag, events", lag)
	panel(&b, height, workload+": rate, events/s", rate)
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

type line struct {
	name string
	x, y []float64
}

func lagOf(run Run) line {
	l := line{name: run.System}
	for _, s := range run.Samples {
		l.x, l.y = append(l.x, s.Seconds), append(l.y, max(0, float64(int64(run.Events)-s.Stored)))
	}
	return l
}

func rateOf(run Run) line {
	l := line{name: run.System}
	from := run.Samples[0]
	for _, s := range run.Samples[1:] {
		if took := s.Seconds - from.Seconds; took >= bin {
			l.x, l.y = append(l.x, s.Seconds), append(l.y, float64(s.Stored-from.Stored)/took)
			from = s
		}
	}
	return l
}

func panel(b *strings.Builder, down int, title string, lines []line) {
	mostX, mostY := 1.0, 1.0
	for _, l := range lines {
		mostX, mostY = max(mostX, slices.Max(append(l.x, 0))), max(mostY, slices.Max(append(l.y, 0)))
	}
	mostX, mostY = nice(mostX), nice(mostY)
	fmt.Fprintf(b, `<g transform="translate(%d %d)"><text x="0" y="-10" font-size="14">%s</text>`+"\n", left, down+top, html.EscapeString(title))
	for i := range 6 {
		part := float64(i) / 5
		x, y := part*plotWide, plotHigh*(1-part)
		fmt.Fprintf(b, `<path d="M0 %.1fH%d" stroke="#ddd"/><text x="-8" y="%.1f" text-anchor="end">%s</text>`, y, plotWide, y+4, number(part*mostY))
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x, plotHigh+18, number(part*mostX)+" s")
	}
	for i, l := range lines {
		color := colors[i%len(colors)]
		var points []string
		for j := range l.x {
			points = append(points, fmt.Sprintf("%.1f,%.1f", l.x[j]/mostX*plotWide, plotHigh*(1-l.y[j]/mostY)))
		}
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`, strings.Join(points, " "), color)
		fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", plotWide+14, 14+i*18, color, html.EscapeString(l.name))
	}
	b.WriteString("</g>\n")
}

// nice is the next number above that divides well into fifths.
func nice(most float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(most)))
	for _, step := range []float64{1, 1.5, 2, 2.5, 3, 4, 5, 7.5} {
		if most <= step*unit {
			return step * unit
		}
	}
	return 10 * unit
}

func number(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%.4g k", v/1000)
	}
	return fmt.Sprintf("%.3g", v)
}
