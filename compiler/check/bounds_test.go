package check

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/graphs/std"
)

// lines writes a line n times, with its number in place of each %[1]d and the
// next in place of each %[2]d.
func lines(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format+"\n", i, i+1)
	}
	return b.String()
}

// TestLarge checks programs as large as a file may be, made so that a careless
// comparison of everything with everything would take minutes. The time it
// allows is there to find one that does.
func TestLarge(t *testing.T) {
	for name, src := range map[string]string{
		"stages and units": "loco 1\n" + Base[7:] + lines(9000, "stage z%[1]d { relu }") + lines(9000, "unit u%[1]d = z%[1]d : proj"),
		"overlaps":         Base + lines(5000, "stage z%[1]d { relu }") + lines(4999, "unit u%[1]d = z%[1]d -> z%[2]d : proj") + lines(4998, "overlap z%[2]d in u%[1]d, u%[2]d"),
		"one long unit":    Base + lines(9000, "stage z%[1]d { relu }") + "unit long = z0" + strings.ReplaceAll(lines(8999, " -> z%[2]d"), "\n", "") + " : proj\n",
		"skips":            Base + lines(9000, "stage z%[1]d { relu }") + lines(9000, "unit u%[1]d = z0 -> z8999 : proj"),
		"unknown names":    Base + lines(14000, "let a_long_name_of_many_letters_%[1]d = b_long_name_of_many_letters_%[1]d"),
		"unknown words":    Base + lines(15000, "statement_that_nobody_knows_%[1]d 3") + lines(9000, "block b%[1]d() { layer_that_nobody_knows() }"),
		"arguments":        Base + "block b(x0" + strings.ReplaceAll(lines(50000, ", x%[2]d"), "\n", "") + ") { relu }\n",
		"evaluations": strings.Replace(Base, "norm", "repeat 1000 { repeat 90 { b(1"+strings.Repeat(", 1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1", 60)+") } }", 1) +
			"block b(y" + strings.ReplaceAll(lines(60, ", x%[2]d"), "\n", "") + ") { relu }\n",
		"nested residuals": strings.Replace(Base, "norm", strings.Repeat("residual { conv 1x1 channels; ", 30)+"norm"+strings.Repeat(" }", 30), 1),
		"wide lists":       Base + "let l = [" + strings.Repeat("1, ", 60000) + "1]\n" + lines(5000, "let m%[1]d = l"),
		"copies": strings.Replace(Base, "overlap s2 in low, high", "overlap s2 in low, high tie=free", 1) + lines(3000, "stage z%[1]d { relu }") +
			"unit a = s3" + strings.ReplaceAll(lines(3000, " -> z%[1]d"), "\n", "") + " : proj\n" +
			"unit b = z1" + strings.ReplaceAll(lines(2998, " -> z%[2]d"), "\n", "") + " : proj also\n" + lines(2900, "overlap z%[2]d in a, b tie=free"),
	} {
		t.Run(name, func(t *testing.T) {
			f, list := dsl.Parse("large.loco", []byte(src))
			if len(list) > 0 {
				t.Fatal(list)
			}
			start := time.Now()
			Check(f, Options{Std: std.Files})
			d := time.Since(start)
			t.Logf("%d bytes in %v", len(src), d)
			if d > 20*time.Second {
				t.Error("this takes far too long")
			}
		})
	}
}
