package cli

import (
	"fmt"
	"strconv"
	"strings"
)

// sizes are the units of a size in bytes, longest first where one ends in
// another.
var sizes = []struct {
	suffix string
	bytes  float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// parseBytes reads a size such as 2GiB or 500MB; "" is 0.
func parseBytes(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	for _, u := range sizes {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(f > 0) || f*u.bytes >= 1<<62 {
			break
		}
		return int64(f * u.bytes), nil
	}
	return 0, fmt.Errorf("%q is no size; write it like 2GiB or 500MB", s)
}
