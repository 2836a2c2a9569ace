package store

import (
	"testing"

	"github.com/outboxrelay/relay/internal/mutant/mutanttest"
)

func TestMutants_OfReadingAreCaught(t *testing.T) {
	mutanttest.Caught(t, map[string]string{
		"cursor-on-seq":          "TestWindows_UnderFire",
		"order-by-xid-seq":       "TestWindows_UnderFire",
		"anchor-from-xmax":       "TestWindows_UnderFire",
		"anchor-after-xid":       "TestAnchor_StandsBelowWhatNewerTransactionsDraw",
		"sequence-unlocked":      "TestSequence_IsNeverReadAhead",
		"sequence-back":          "TestSequence_ThatWasSetBackIsRefused",
		"sequence-cached":        "TestSequence_ThatIsDrawnInAdvanceIsRefused",
		"silent-empty-window":    "TestWindows_UnderFire",
		"no-second-look":         "TestWindows_UnderFire",
		"settle-without-epoch":   "TestSettler_WritesNothingUnderAnotherEpoch",
		"truncate-without-audit": "TestAudit_FindsWhatWasDoneByHand",
	})
}
