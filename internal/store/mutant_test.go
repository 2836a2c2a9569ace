package store

import (
	"testing"

	"github.com/outboxrelay/relay/internal/mutant/mutanttest"
)

func TestMutants_OfReadingAreCaught(t *testing.T) {
	mutanttest.Caught(t, map[string]string{
		"cursor-on-seq":          "TestWindow_HasALowNumberThatCommitsLate",
		"order-by-xid-seq":       "TestWindow_IsInTheOrderOfNumbers",
		"anchor-from-xmax":       "TestWindow_HasWhatWasDrawnBeforeTheAnchor",
		"anchor-after-xid":       "TestAnchor_StandsBelowWhatNewerTransactionsDraw",
		"sequence-unlocked":      "TestSequence_IsNeverReadAhead",
		"sequence-back":          "TestSequence_ThatWasSetBackIsRefused",
		"sequence-cached":        "TestSequence_ThatIsDrawnInAdvanceIsRefused",
		"silent-empty-window":    "TestWindow_HasWhatCommitsAfterAnEmptyOne",
		"no-second-look":         "TestWindow_HasATransactionThatWasFarBehind",
		"settle-without-epoch":   "TestSettler_WritesNothingUnderAnotherEpoch",
		"truncate-without-audit": "TestAudit_FindsWhatWasDoneByHand",
	})
}
