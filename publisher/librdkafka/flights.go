//go:build cgo

package librdkafka

// flights keeps the tags of records that librdkafka has. C may hold no pointer of Go's, so a record carries a label: the
// place of its tag, and the number of its lane.
type flights struct {
	tags []any
	free []uint32 // places in tags
}

// depart gives a tag a label. The lane's number is below 2^31.
func (f *flights) depart(tag any, lane int32) uint64 {
	n := len(f.free)
	if n == 0 {
		f.tags = append(f.tags, tag)
		return label(uint32(len(f.tags)-1), lane)
	}
	place := f.free[n-1]
	f.free = f.free[:n-1]
	f.tags[place] = tag
	return label(place, lane)
}

// land returns the tag of a label, which may be given again from now on.
func (f *flights) land(label uint64) any {
	place := uint32(label)
	tag := f.tags[place]
	f.tags[place] = nil
	f.free = append(f.free, place)
	return tag
}

func label(place uint32, lane int32) uint64 { return uint64(lane)<<32 | uint64(place) }

func laneOf(label uint64) int32 { return int32(label >> 32) }
