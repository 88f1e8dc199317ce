package source

import (
	"fmt"
	"math"
	"slices"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/rng"
)

// split is one side of a source cut in two: "held", the share of about
// Fraction, or "rest". Which picture falls on which side depends on the number
// of pictures and on Source.Seed only. Its Fingerprint names the whole's, the
// side and the cut.
type split struct {
	Dataset // of the whole
	kept    []int
	print   string
}

func openSplit(s *model.Source, opt Options) (Dataset, error) {
	if s.Of == nil || !(s.Fraction > 0 && s.Fraction < 1) {
		return nil, fmt.Errorf("split takes a source and a share between 0 and 1, not %v", s.Fraction)
	}
	whole, err := Open(s.Of, opt)
	if err != nil {
		return nil, err
	}
	kept, err := side(s, whole.Len())
	if err != nil {
		whole.Close()
		return nil, err
	}
	print := fmt.Sprintf("split(%s, %v, %d, %s)", whole.Fingerprint(), s.Fraction, s.Seed, s.Part)
	return &split{Dataset: whole, kept: kept, print: print}, nil
}

// side gives the indices of one side, ascending.
func side(s *model.Source, n int) ([]int, error) {
	held := int(math.Round(s.Fraction * float64(n)))
	if held < 1 || held >= n {
		return nil, fmt.Errorf("split: a share of %v leaves one side of the %d pictures empty", s.Fraction, n)
	}
	order := rng.Permutation(s.Seed^uint64(rng.For("split")), 0, n)
	var kept []int
	switch s.Part {
	case "held":
		kept = order[:held]
	case "rest", "":
		kept = order[held:]
	default:
		return nil, fmt.Errorf("split has no part %q: rest or held", s.Part)
	}
	slices.Sort(kept)
	return kept, nil
}

func (d *split) Len() int                       { return len(d.kept) }
func (d *split) Label(i int) int                { return d.Dataset.Label(d.kept[i]) }
func (d *split) Picture(i int) (Picture, error) { return d.Dataset.Picture(d.kept[i]) }
func (d *split) Fingerprint() string            { return d.print }

// Name says which picture of the whole is meant.
func (d *split) Name(i int) string { return nameOf(d.Dataset, d.kept[i]) }
