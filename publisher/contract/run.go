package contract

import "testing"

// Run holds a client to the contract against one cluster.
func Run(t *testing.T, open Open, site Site) {
	for name, test := range map[string]func(*testing.T, Open, Site){
		"StoresEachRecordOnceInOrderAndExactly": testEachOnce,
		"ChoosesJavasPartition":                 testPartitions,
		"KeepsNullAndEmptyApart":                testNulls,
		"SendsToTheAskedPartition":              testExplicit,
		"SpreadsRecordsWithoutKey":              testSpread,
		"KeepsTheTimestamp":                     testTimestamp,
		"SendsAtOnceWhenFlushed":                testFlush,
		"RefusesWhatTheTopicCannotHold":         testLimit,
		"NeedsAKeyWhereCompacted":               testCompacted,
		"StopsAtARefusedRecord":                 testGapless,
		"SaysThatATopicIsMissing":               testMissing,
		"SendsToATopicThatAppears":              testAppears,
		"SurvivesBrokersThatGoAway":             testAway,
		"ReportsAllAtClose":                     testClose,
		"WaitsNoLongerThanTheCaller":            testBounded,
	} {
		t.Run(name, func(t *testing.T) { test(t, open, site) })
	}
}
