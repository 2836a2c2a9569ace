package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// editShown is how much of a value is shown of what it was and of what it is.
const editShown = 400

// printEdit prints the parts of an event that an edit changes, each as it was and as it is.
func (g *globals) printEdit(before, after *parkedWhole, dryRun bool) {
	s := g.styleFor(g.stdout)
	word := "edited"
	if dryRun {
		word = "would edit"
	}
	fmt.Fprintf(g.stdout, "%s %s, seq %d\n", word, s.bold(after.ID), after.Seq)
	for _, part := range []struct{ name, before, after string }{
		{"topic", before.Topic, after.Topic},
		{"key", optional(before.Key), optional(after.Key)},
		{"partition", partitionInWords(before.Partition), partitionInWords(after.Partition)},
		{"state", before.State, after.State},
		{"reason", readable([]byte(before.Reason), false), readable([]byte(after.Reason), false)},
	} {
		if part.before != part.after {
			fmt.Fprintf(g.stdout, "%-10s %s → %s\n", part.name, clip(part.before, editShown), clip(part.after, editShown))
		}
	}
	both := func(name, before, after string) {
		fmt.Fprintf(g.stdout, "%-10s %s\n%10s %s\n", name, s.bad("- "+clip(before, editShown)), "", s.good("+ "+clip(after, editShown)))
	}
	if !bytes.Equal(before.Headers, after.Headers) {
		both("headers", headersInWords(before.Headers), headersInWords(after.Headers))
	}
	if before.Kind != after.Kind || !bytes.Equal(before.payload, after.payload) {
		both("payload", payloadInWords(before)+" "+readable(before.payload, false), payloadInWords(after)+" "+readable(after.payload, false))
	}
}

func partitionInWords(n *int32) string {
	if n == nil {
		return "by key"
	}
	return strconv.Itoa(int(*n))
}
