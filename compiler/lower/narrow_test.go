package lower

import (
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
)

// TestNarrow lowers every program in bfloat16: exactly the maps are narrow, and
// their memory is half.
func TestNarrow(t *testing.T) {
	for name, c := range programs() {
		t.Run(name, func(t *testing.T) {
			wide, err := Train(c.net, c.opt)
			if err != nil {
				t.Fatal(err)
			}
			c.net.Train.Precision = model.BF16
			narrow, err := Train(c.net, c.opt)
			if err != nil {
				t.Fatal(err)
			}
			if err := narrow.Verify(); err != nil {
				t.Fatal(err)
			}
			for i := range narrow.Values {
				v, w := &narrow.Values[i], &wide.Values[i]
				persists := v.Space != ir.Arena && v.Space != ir.Input
				if persists && v.Dtype != op.F32 || v.Kind == ir.LossValue && v.Dtype != op.F32 {
					t.Errorf("%s, a %s, is %s", v.Name, v.Kind, v.Dtype)
				}
				statistics := strings.Contains(v.Name, ":mean") || strings.Contains(v.Name, ":invstd")
				if !persists && v.Kind != ir.LossValue && !statistics && v.Dtype != op.I32 && v.Bytes()*2 != w.Bytes() {
					t.Errorf("%s, a %s %v, is %s", v.Name, v.Kind, v.Shape, v.Dtype)
				}
			}
			if narrow.Sizes[ir.Arena] > wide.Sizes[ir.Arena]*3/4 {
				t.Errorf("an arena of %d bytes, of %d in float32", narrow.Sizes[ir.Arena], wide.Sizes[ir.Arena])
			}
		})
	}
}

// TestMixedTypesAreFound spoils one type of a narrow program.
func TestMixedTypesAreFound(t *testing.T) {
	net := chain(4, loco3, nil)
	net.Train.Precision = model.BF16
	for _, c := range []struct {
		name string
		kind ir.Kind
		to   op.Dtype
		want string
	}{
		{"a map that is wide", ir.Map, op.F32, "is bf16 and"},
		{"a weight that is narrow", ir.Weight, op.BF16, "is bf16, but no map"},
	} {
		p, err := Train(net, Options{Turn: -1})
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.Values {
			if p.Values[i].Kind == c.kind {
				p.Values[i].Dtype = c.to
				break
			}
		}
		if err := p.VerifyOps(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, not %q", c.name, err, c.want)
		}
	}
}
