package dsl

import (
	"bytes"
	"strings"
	"testing"

	"github.com/locorun/locorun/dsl/diag"
)

// The inputs that cost most within the bounds, one per way to spend them.
var costly = []struct{ name, src string }{
	{"deep", strings.Repeat("a{", 300_000)},
	{"short statements", strings.Repeat("a;", 99_999)},
	{"one long statement", "a " + strings.Repeat("b ", 199_000)},
	{"a long list", "a [" + strings.Repeat("1,", 99_000) + "1]"},
	{"many operators", strings.Repeat("a 1"+strings.Repeat("+1", 60)+"\n", 1600)},
	{"an error a line", strings.Repeat("a =\n", 66_000)},
	{"junk", strings.Repeat("$", 199_000)},
	{"brackets that swallow all", strings.Repeat("a (\n", 63) + strings.Repeat("b,\n", 99_000)},
	{"layers", strings.Repeat("  conv 3x3 out stride=stride; norm; relu // as usual\n", 15_000)},
}

func BenchmarkParse(b *testing.B) {
	for _, c := range costly {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Parse("x.loco", []byte(c.src))
			}
		})
	}
}

func BenchmarkRenderManyErrors(b *testing.B) {
	src := []byte(strings.Repeat("a = ", 50_000))
	_, l := Parse("x.loco", src)
	for b.Loop() {
		var out bytes.Buffer
		if err := diag.Render(&out, l, func(string) []byte { return src }, diag.RenderOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
