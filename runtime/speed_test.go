package runtime

import (
	"testing"
	"time"

	"github.com/locorun/locorun/graphs/cpu"
)

// TestSpeed asks only that something is measured and given back.
func TestSpeed(t *testing.T) {
	b := onCPU(t, cpu.Options{})
	defer b.Close()
	got, err := Speed(b, time.Microsecond)
	if err != nil || got <= 0 {
		t.Errorf("Speed is %g, %v", got, err)
	}
	if b.Counted() == 0 {
		t.Error("nothing was counted")
	}
}
