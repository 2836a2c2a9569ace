package publisher

import "testing"

// The hashes are those of Kafka's own test (UtilsTest.testMurmur2).
func TestMurmur2_EqualsJavas(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := murmur2([]byte(key)); got != want {
			t.Errorf("murmur2(%q) = %d, Java says %d", key, got, want)
		}
	}
}

func TestPartition_ClearsTheSignBitInsteadOfNegating(t *testing.T) {
	// murmur2("21") is -973932308: toPositive gives 1173551340, abs would give 973932308.
	if got, want := Partition([]byte("21"), 7), int32(1173551340%7); got != want {
		t.Errorf("Partition(21, 7) = %d, want %d", got, want)
	}
}

func TestPartition_StaysInRange(t *testing.T) {
	for n := int32(1); n < 20; n++ {
		for i := range 256 {
			if p := Partition([]byte{byte(i), byte(n)}, n); p < 0 || p >= n {
				t.Fatalf("partition %d of %d", p, n)
			}
		}
	}
	if p := Partition([]byte{}, 5); p < 0 || p >= 5 {
		t.Fatalf("empty key: partition %d of 5", p)
	}
}
