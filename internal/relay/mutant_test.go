package relay

import (
	"testing"

	"github.com/outboxrelay/relay/internal/mutant/mutanttest"
)

func TestMutants_AreCaught(t *testing.T) {
	t.Parallel()
	mutanttest.Caught(t, map[string]string{
		"settle-before-ack":            "TestSession_SettlesOnlyTheContiguousAckedPrefix",
		"highest-ack":                  "TestSession_SettlesOnlyTheContiguousAckedPrefix",
		"position-across-reconnect":    "TestSession_StartsFromTheRowNotFromMemory",
		"park-outside":                 "TestParked_WhatCannotBeParkedIsNotPassed",
		"settle-after-doubt":           "TestDoubt_ASlowCommitIsSettledByTheProgressRecord",
		"parked-settle-after-doubt":    "TestDoubt_SoIsAShipmentOfParkedEvents",
		"candidate-after-lost-commits": "TestExactly_SkipsNothingThatPostgreSQLForgot",
	})
}

func TestMutants_ThatNeedARealKafkaAreCaught(t *testing.T) {
	t.Parallel()
	mutanttest.CaughtOnServers(t, map[string]string{"no-recycle-after-doubt": "TestTorn_ALateEndTxnEndsNothing"})
}
