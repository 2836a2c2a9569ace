package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that is written as "250ms", "30s" or "1h30m".
type Duration time.Duration

// Std is d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes d in the shortest form that UnmarshalText reads back: "24h", not "24h0m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText writes d as String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a number with a unit. A number without one is an error: "30" could be anything.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return errors.New(`is not a duration: write a number with its unit, such as "250ms", "30s" or "1h"`)
	}
	if v < 0 {
		return errors.New("is negative")
	}
	*d = Duration(v)
	return nil
}

// Size is a number of bytes that is written as "32MiB", "64KiB" or "1GiB".
type Size int64

// The units of Size. Powers of 1000 are read as well, because people write them.
var sizeUnits = []struct {
	suffix string
	factor int64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3},
	{"B", 1},
}

// Bytes is s as a number of bytes.
func (s Size) Bytes() int64 { return int64(s) }

// String writes s exactly, in the largest unit that divides it.
func (s Size) String() string {
	if s == 0 {
		return "0B"
	}
	for _, u := range sizeUnits[:3] {
		if int64(s)%u.factor == 0 {
			return strconv.FormatInt(int64(s)/u.factor, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalText writes s as String does.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a whole number with a unit. A number without one is an error.
func (s *Size) UnmarshalText(text []byte) error {
	written := strings.TrimSpace(string(text))
	for _, u := range sizeUnits {
		number, found := strings.CutSuffix(written, u.suffix)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil {
			break
		}
		if n < 0 {
			return errors.New("is negative")
		}
		if n > math.MaxInt64/u.factor {
			return fmt.Errorf("is larger than %s", Size(math.MaxInt64>>30<<30))
		}
		*s = Size(n * u.factor)
		return nil
	}
	return errors.New(`is not a size: write a whole number with its unit, such as "512KiB", "32MiB" or "1GiB"`)
}
