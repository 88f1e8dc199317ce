package semantics

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/internal/reference"
)

// source is a program of four stages, to which a test adds overlaps and what
// else it is about.
const source = `loco 1
data { train synthetic(shapes, n=64, classes=4, size=8) }
views { flip p=0.5 }
block basic(out, stride=1) {
  residual {
    conv 3x3 out stride=stride; norm; relu
    conv 3x3 out; norm
  }
  relu
}
block half(out) { conv 1x1 out; norm; relu; conv 3x3 channels groups=channels; norm }
stage s1 { conv 3x3 4; norm; relu }
stage s2 { basic(6, stride=2); basic(6) }
stage s3 { basic(8); split { branch { }; branch { half(4) } }; shuffle groups=2 }
stage s4 { conv 3x3 6; norm group=2; fork { branch { }; branch { pool max 3x3 pad=1 stride=1 } }; basic(6) }
decoder proj { conv 1x1 6; norm; relu; pool mean; dense 6; relu; dense 5 }
unit low  = s1 -> s2 : proj
unit mid  = s2 -> s3 : proj
unit high = s3 -> s4 : proj { lr 0.5; optimizer lars(lr=0.2, momentum=0.9, weight_decay=1e-3) }
train {
  batch 6; microbatch 2; epochs 1; seed 1
  loss ntxent(temperature=0.5, negatives=batch)
  optimizer sgd(lr=0.1, momentum=0.9, weight_decay=1e-3)
}
`

// compiled is the net of a text.
func compiled(t *testing.T, text, method string) *model.Net {
	t.Helper()
	n, found := compiler.Compile("graph.loco", []byte(text), compiler.Options{Method: method})
	if n == nil {
		t.Fatalf("does not compile: %v", found)
	}
	return n
}

// TestTexts follows programs from their text on.
func TestTexts(t *testing.T) {
	both := func(s2, s3 string) string {
		return source + "overlap s2 in low, mid " + s2 + "\noverlap s3 in mid, high " + s3 + "\n"
	}
	texts := map[string]string{
		"shared":       both("", ""),
		"watched":      both("", "") + "watch stem = s1 : proj\nwatch shared = s3 : proj\n",
		"upper":        both("tie=upper", "tie=upper"),
		"soft":         both("tie=soft(0.05)", "tie=soft(0.02)"),
		"free":         both("tie=free", ""),
		"first":        both("first=1", ""),
		"upper, first": both("tie=upper first=1", ""),
		"soft, first":  both("tie=soft(0.05) first=1", "tie=upper"),
		"free, first":  both("tie=free first=1", "tie=soft(0.01)"),
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			follow(t, sample{compiled(t, text, ""), twiceIn2}, 1e-10)
		})
	}
	for _, method := range []string{"gim", "e2e"} {
		t.Run(method, func(t *testing.T) { follow(t, sample{compiled(t, both("", ""), method), twice}, 1e-10) })
	}
	t.Run("in turn", func(t *testing.T) {
		text := strings.Replace(both("", ""), "epochs 1;", "epochs 1; units in_turn;", 1)
		for k := range 4 {
			follow(t, sample{compiled(t, text, "gim"), lower.Options{Turn: k, Dtype: op.F64}}, 1e-10)
		}
	})
}

// TestFirstTrainsWhatItSays looks at which weights of a cut stage the lower
// unit's loss moves: the first block's, not the second's.
func TestFirstTrainsWhatItSays(t *testing.T) {
	text := source + "overlap s2 in low, mid first=1\noverlap s3 in mid, high\n"
	run := func(temperature float64) map[string][]float64 {
		n := compiled(t, text, "")
		n.Units[0].Loss.Temperature = temperature
		return newMachine(t, n, together, reference.Start(n, -1, 1)).step(pictures(n, 0), 0.1).gradients
	}
	before, after := run(0.5), run(0.7)
	var moved []string
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if !slices.EqualFunc(before[name], after[name], sameBits) && strings.HasSuffix(name, "conv1.weight") {
			moved = append(moved, name)
		}
	}
	want := []string{"low/proj.conv1.weight", "s1.conv1.weight", "s2.0.conv1.weight"}
	if !slices.Equal(moved, want) {
		t.Errorf("the loss of low moves %v, not %v", moved, want)
	}
}
