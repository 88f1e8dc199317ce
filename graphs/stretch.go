package graphs

import (
	"cmp"
	"slices"

	"github.com/locorun/locorun/compiler/ir"
)

// stretch is the bytes from..to of a space, whole lines.
type stretch struct {
	space    ir.Space
	from, to int64
}

// stretchOf is where all slots of a planned value lie.
func stretchOf(v *ir.Value) stretch {
	end := v.Offset + int64(v.Slots-1)*v.Stride + v.Bytes()
	return stretch{v.Space, v.Offset / line * line, (end + line - 1) / line * line}
}

func compareStretches(a, b stretch) int {
	return cmp.Or(cmp.Compare(a.space, b.space), cmp.Compare(a.from, b.from))
}

// union joins stretches that overlap or touch, and sorts them.
func union(all []stretch) (joined []stretch) {
	slices.SortFunc(all, compareStretches)
	for _, s := range all {
		if n := len(joined); n > 0 && joined[n-1].space == s.space && s.from <= joined[n-1].to {
			joined[n-1].to = max(joined[n-1].to, s.to)
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

// overlap reports whether any two stretches share a byte. It sorts them.
func overlap(all []stretch) bool {
	slices.SortFunc(all, compareStretches)
	for i := 1; i < len(all); i++ {
		if all[i].space == all[i-1].space && all[i].from < all[i-1].to {
			return true
		}
	}
	return false
}
