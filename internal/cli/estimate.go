package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime"
)

// speedTime is how long the backend's speed is measured.
const speedTime = 100 * time.Millisecond

// printEstimate says how long an epoch takes at the least, from the speed of a
// convolution measured just now. Where the images are not known there is
// nothing to say.
func printEstimate(w io.Writer, pl *plan.Plan, speed float64) {
	if pl.Steps == 0 || speed <= 0 {
		return
	}
	seconds := float64(pl.FLOPs) * float64(pl.Steps) / speed
	fmt.Fprintf(w, "%s an epoch at the least, at the %.3g GFLOP/s that a convolution reached just now\n", span(seconds), speed/1e9)
}

// measureSpeed measures the backend in a program's precision; a backend that
// cannot is not fatal.
func measureSpeed(b device.Backend, in model.Precision) float64 {
	speed, err := runtime.Speed(b, mapsIn(in), speedTime)
	if err != nil {
		return 0
	}
	return speed
}

// span writes a time as a person would say it.
func span(seconds float64) string {
	switch {
	case seconds < 1:
		return "less than a second"
	case seconds < 1.5:
		return "1 second"
	case seconds < 100:
		return fmt.Sprintf("%.0f seconds", seconds)
	case seconds < 100*60:
		return fmt.Sprintf("%.0f minutes", seconds/60)
	case seconds < 48*3600:
		return fmt.Sprintf("%.1f hours", seconds/3600)
	}
	return fmt.Sprintf("%.1f days", seconds/86400)
}
