package relay

import (
	"testing"

	"github.com/outboxrelay/relay/internal/mutant/mutanttest"
)

func TestMutants_OfSettlingAreCaught(t *testing.T) {
	mutanttest.Caught(t, map[string]string{
		"settle-before-ack":         "TestSession_SettlesOnlyTheContiguousAckedPrefix",
		"highest-ack":               "TestSession_SettlesOnlyTheContiguousAckedPrefix",
		"position-across-reconnect": "TestSession_StartsFromTheRowNotFromMemory",
		"park-outside":              "TestParked_WhatCannotBeParkedIsNotPassed",
	})
}
