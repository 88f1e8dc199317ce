// Package optim is the course of the learning rate. A checked schedule and the
// number of a step come in; that step's rate goes out. The rate is a pure
// function of its arguments, so a resumed run continues it to the bit.
//
//	base |     /'''--..
//	     |   /         '-.
//	     | /              '-.
//	   0 +/------+----------'--> step
//	     0   warm-up        total
//
// The update rules themselves (SGD, LARS, AdamW) are rows of the op table.
package optim

import (
	"fmt"
	"math"

	"github.com/locorun/locorun/compiler/model"
)

// Rate is the learning rate of one update. step counts the run's updates from
// 0, perEpoch is the number of updates in an epoch, and the run lasts epochs
// epochs. base is the full rate, with a unit's own factor already in it.
//
// With w = Warmup*perEpoch (a real number, not rounded) and T = perEpoch*epochs:
//
//	step <  w            base * step/w
//	constant, step >= w  base
//	cosine,   step >= w  base * (1 + cos(pi*(step-w)/(T-w))) / 2
//	cosine,   step >= T  0
//
// So a warm-up starts at exactly 0 and meets base at its end; the cosine would
// reach 0 at step T, one past the last, which therefore still trains a little.
// This is the half-period cosine of Loshchilov and Hutter (2017) without
// restarts, with the linear warm-up of Goyal et al. (2017) taken per step and
// from 0. A warm-up at least as long as the run rises until the run ends.
//
// A kind the checker does not let through is a broken invariant and panics.
func Rate(s model.Schedule, base float64, step, perEpoch, epochs int) float64 {
	if s.Kind != "cosine" && s.Kind != "constant" {
		panic(fmt.Sprintf("optim: schedule %q passed the checker", s.Kind))
	}
	at, warm := float64(max(step, 0)), s.Warmup*float64(perEpoch)
	if at < warm {
		return base * (at / warm)
	}
	if s.Kind == "constant" {
		return base
	}
	return base * cosine(at-warm, float64(perEpoch)*float64(epochs)-warm)
}

// cosine falls from 1 at 0 to 0 at length, and stays there.
func cosine(at, length float64) float64 {
	if at >= length {
		return 0
	}
	return (1 + math.Cos(math.Pi*(at/length))) / 2
}
