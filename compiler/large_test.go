package compiler_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/lower"
)

const begun = `loco 1
data { train synthetic(shapes, n=4096, classes=4, size=32x32) }
views { crop 32x32 scale=0.2..1 }
train { batch 1024; microbatch 1; epochs 1; loss ntxent(temperature=0.5); optimizer sgd(lr=0.1) }
decoder proj() { pool mean; dense 8 }
`

// written writes a line n times, with its number in place of each %[1]d and the
// next in place of each %[2]d.
func written(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format+"\n", i, i+1)
	}
	return b.String()
}

// TestLargeProgramsAreLowered lowers programs as large as may be (with
// LOCORUN_LONG all of the list), made so that a pass that compares everything
// with everything would take minutes. The time it allows is there to find one.
func TestLargeProgramsAreLowered(t *testing.T) {
	const layers = "stage s%[1]d { conv 3x3 8; repeat 1000 { conv 3x3 8; norm; relu }; repeat 1000 { conv 3x3 8; norm; relu } }"
	const small = "stage z%[1]d { conv 3x3 8; norm; relu; conv 3x3 8; norm; relu }"
	for _, c := range []struct {
		name, text string
		long       bool
	}{
		{"layers", begun + written(1, layers) + "unit u = s0 : proj\n", false},
		{"pairs", begun + written(512, small) + written(511, "unit u%[1]d = z%[1]d -> z%[2]d : proj") + written(510, "overlap z%[2]d in u%[1]d, u%[2]d"), false},
		{"layers in three stages", begun + written(3, layers) + "unit u = s0 -> s1 : proj\nunit v = s1 -> s2 : proj\noverlap s1 in u, v\n", true},
		{"residuals", begun + "stage s0 { conv 3x3 8; " + strings.Repeat("repeat 900 { residual { conv 3x3 8; norm; relu; conv 3x3 8 }; relu }; ", 3) + "}\nunit u = s0 : proj\n", true},
		{"forks", begun + "stage s0 { conv 3x3 8; repeat 10 { fork { " + strings.Repeat("branch { conv 1x1 8; relu }; ", 600) + "}; conv 1x1 8 } }\nunit u = s0 : proj\n", true},
		{"watches", begun + written(512, small) + "unit u = z0" + strings.ReplaceAll(written(511, " -> z%[2]d"), "\n", "") + " : proj\n" + written(512, "watch w%[1]d = z%[1]d : proj"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.long && os.Getenv("LOCORUN_LONG") == "" {
				t.Skip("LOCORUN_LONG is not set")
			}
			start := time.Now()
			net, found := compileText(c.text, "loco")
			if net == nil {
				t.Fatalf("%d diagnostics, the first %s", len(found), found[0].Message)
			}
			for _, depth := range []int{1, 8} {
				p, err := lower.Train(net, lower.Options{Depth: depth, Turn: -1})
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%v to depth %d, %d values", time.Since(start), depth, len(p.Values))
			}
			if took := time.Since(start); took > 60*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}
