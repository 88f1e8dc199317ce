package measure

import (
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/cudatest"
)

// TestTimeOnCUDA: a card takes every kernel, in both types of maps.
func TestTimeOnCUDA(t *testing.T) {
	b := cudatest.Open(t)
	for _, maps := range []op.Dtype{op.F32, op.BF16} {
		for _, k := range small() {
			got, err := Time(b, k, maps, Limits{Repeats: 1})
			if err != nil || got.Seconds.N < 1 {
				t.Errorf("%v: %+v, %v", maps, got, err)
			}
		}
	}
}
