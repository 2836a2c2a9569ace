package main

import (
	"bufio"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// tableSample is how many rows are looked at before the columns get their widths; the others are written as they come.
const tableSample = 200

// leastLast is the room that the last column has on the narrowest terminal.
const leastLast = 40

// table writes rows in columns without holding them all. A cell that is wider than its column moves the rest of its
// row. The last column ends where the terminal does, unless that leaves it no room to say anything.
type table struct {
	out     *bufio.Writer
	paint   func(column int, cell string) string // after padding; colours count no width
	edge    int                                  // width of the terminal; 0 is none
	waiting [][]string
	widths  []int // nil until enough rows were seen
}

func newTable(w io.Writer, paint func(column int, cell string) string, header ...string) *table {
	t := &table{out: bufio.NewWriter(w), paint: paint}
	if f, ok := w.(*os.File); ok && isTerminal(w) {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			t.edge = width
		}
	}
	t.waiting = append(t.waiting, header)
	return t
}

// row adds one. The error is the writer's.
func (t *table) row(cells ...string) error {
	if t.widths != nil {
		return t.write(cells)
	}
	t.waiting = append(t.waiting, cells)
	if len(t.waiting) < tableSample {
		return nil
	}
	return t.settle()
}

// settle gives the columns their widths and writes what waits.
func (t *table) settle() error {
	t.widths = make([]int, len(t.waiting[0]))
	for _, cells := range t.waiting {
		for i, cell := range cells {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, cells := range t.waiting {
		if err := t.write(cells); err != nil {
			return err
		}
	}
	t.waiting = nil
	return nil
}

func (t *table) write(cells []string) error {
	var line strings.Builder
	column := 0
	for i, cell := range cells {
		last := i == len(cells)-1
		if last && t.edge > 0 {
			cell = clip(cell, max(t.edge-column, leastLast))
		}
		width := utf8.RuneCountInString(cell)
		column += max(width, t.widths[i]) + 2
		line.WriteString(t.paint(i, cell))
		if !last {
			line.WriteString(strings.Repeat(" ", max(t.widths[i]-width, 0)+2))
		}
	}
	_, err := t.out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	return err
}

// end writes what is left.
func (t *table) end() error {
	if t.widths == nil {
		if err := t.settle(); err != nil {
			return err
		}
	}
	return t.out.Flush()
}

// clip shortens text to so many characters, the last of which then says so.
func clip(text string, characters int) string {
	if utf8.RuneCountInString(text) <= characters {
		return text
	}
	return string([]rune(text)[:characters-1]) + "…"
}
