package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// storedHeader is one header as the column headers has it: its value is JSON, normally a string.
type storedHeader struct {
	name  string
	value json.RawMessage
}

var errNoHeaders = errors.New("the headers are no JSON object")

// parseHeaders reads an object in the order in which it was written, which is the order in which Kafka gets it.
func parseHeaders(text []byte) ([]storedHeader, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return nil, errNoHeaders
	}
	var headers []storedHeader
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, errNoHeaders
		}
		text, isText := name.(string)
		h := storedHeader{name: text}
		if err := decoder.Decode(&h.value); err != nil || !isText {
			return nil, errNoHeaders
		}
		headers = append(headers, h)
	}
	return headers, nil
}

// setHeaders gives headers these NAME=VALUE pairs: a name that is there gets the value, a new one comes last.
func setHeaders(headers []storedHeader, pairs []string) ([]storedHeader, error) {
	for _, pair := range pairs {
		name, text, found := strings.Cut(pair, "=")
		if !found || name == "" || !utf8.ValidString(pair) {
			return nil, usageError("--header wants NAME=VALUE, in UTF-8")
		}
		value, err := json.Marshal(text)
		if err != nil {
			return nil, fmt.Errorf("write header %q: %w", name, err)
		}
		set := false
		for i := range headers {
			if headers[i].name == name {
				headers[i].value, set = value, true
			}
		}
		if !set {
			headers = append(headers, storedHeader{name: name, value: value})
		}
	}
	return headers, nil
}

// formatHeaders is the object that parseHeaders reads.
func formatHeaders(headers []storedHeader) (string, error) {
	var b strings.Builder
	b.WriteByte('{')
	for i, h := range headers {
		if i > 0 {
			b.WriteString(", ")
		}
		name, err := json.Marshal(h.name)
		if err != nil {
			return "", fmt.Errorf("write header %q: %w", h.name, err)
		}
		fmt.Fprintf(&b, "%s: %s", name, h.value)
	}
	b.WriteByte('}')
	return b.String(), nil
}
