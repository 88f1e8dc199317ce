package lower

import (
	"fmt"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
)

// lying ends the arguments of an op that makes no mask again and reads its
// input as it lies.
const lying = " - - - - -\n"

// gradientOps prints the ops of a sweep with their arguments and results, but
// for what is lying.
func gradientOps(p *ir.Program, segment string) string {
	names := func(ids []ir.ValueID) string {
		var s []string
		for _, id := range ids {
			if id == ir.None {
				s = append(s, "-")
				continue
			}
			s = append(s, strings.TrimPrefix(p.Values[id].Name, "u1/"))
		}
		return strings.Join(s, " ")
	}
	var b strings.Builder
	for i := range p.Segments {
		s := &p.Segments[i]
		if s.Name() != segment || s.Unit != 0 {
			continue
		}
		for _, o := range s.Ops {
			fmt.Fprintf(&b, "%s: %s <- %s\n", o.Code, names(o.Out), names(o.In))
		}
	}
	return strings.ReplaceAll(b.String(), lying, "\n")
}

// block is a net of one stage: a residual block of the given convolutions, each
// with its norm and all but the last with a relu.
func block(convs int, relu bool) *model.Net {
	return chain(2, [][2]int{{0, 1}}, func(n *model.Net) {
		s := n.Stages[1]
		mid := s.In
		s.Out, s.Layers = mid, nil
		body := model.Branch{In: mid, Out: mid}
		for i := range convs {
			body.Layers = append(body.Layers,
				conv(fmt.Sprintf("conv%d", i+1), mid, mid, 3, 1),
				&model.Layer{Kind: model.Norm, Name: fmt.Sprintf("bn%d", i+1), In: mid, Out: mid})
			if i < convs-1 {
				body.Layers = append(body.Layers, &model.Layer{Kind: model.ReLU, In: mid, Out: mid})
			}
		}
		s.Layers = append(s.Layers, &model.Layer{Kind: model.Residual, In: mid, Out: mid, Branches: []model.Branch{{In: mid, Out: mid}, body}})
		if relu {
			s.Layers = append(s.Layers, &model.Layer{Kind: model.ReLU, In: mid, Out: mid})
		}
		n.Units[0].Decoder = proj(mid)
	})
}

// TestFusedGradients: one op for each conv_norm, which adds what its input's
// gradient holds already. In the basic block the first norm's result is gone:
// the second convolution's gradient applies it on read.
func TestFusedGradients(t *testing.T) {
	two := func() *model.Net { return chain(3, [][2]int{{0, 1}, {1, 2}}, nil) }
	tests := []struct {
		name, segment string
		net           *model.Net
		want          string
	}{
		{"basic block", "s2.sweep(1)", block(2, true), `conv_norm_grad: s2.conv2:dx@1 s2.conv2:dres@1 s2.bn2.weight:grad s2.bn2.bias:grad s2.conv2.weight:grad <- proj.pool:dx@1 s2.conv2:out s2.relu:out~2 s2.bn2.weight s2.bn2:mean s2.bn2:invstd s2.conv1:out s2.conv2.weight - - s2.bn1.weight s2.bn1.bias s2.bn1:mean s2.bn1:invstd
conv_norm_grad: s2.conv1:dx@1 - s2.bn1.weight:grad s2.bn1.bias:grad s2.conv1.weight:grad <- s2.conv2:dx@1 s2.conv1:out - s2.bn1.weight s2.bn1:mean s2.bn1:invstd s1.relu:out~2 s2.conv1.weight s2.conv2:dres@1 s2.bn1.bias - - - -
`},
		{"one convolution", "s2.sweep(1)", block(1, true), `conv_norm_grad: s2.conv1:dx@1 s2.conv1:dres@1 s2.bn1.weight:grad s2.bn1.bias:grad s2.conv1.weight:grad <- proj.pool:dx@1 s2.conv1:out s2.relu:out s2.bn1.weight s2.bn1:mean s2.bn1:invstd s1.relu:out~2 s2.conv1.weight -
add: s2.conv1:dsum@1 <- s2.conv1:dx@1 s2.conv1:dres@1
`},
		{"one convolution, no relu", "s2.sweep(1)", block(1, false), `conv_norm_grad: s2.conv1:dx@1 - s2.bn1.weight:grad s2.bn1.bias:grad s2.conv1.weight:grad <- proj.pool:dx@1 s2.conv1:out - s2.bn1.weight s2.bn1:mean s2.bn1:invstd s1.relu:out~2 s2.conv1.weight proj.pool:dx@1
`},
		{"own loss of a shared stage", "s2.sweep(1)", two(), `conv_norm_grad: s2.1.conv1:dx@1 s2.1.conv1:dres@1 - - - <- proj.pool:dx@1 s2.1.conv1:out s2.relu:out~2 s2.1.bn1.weight s2.1.bn1:mean s2.1.bn1:invstd s2.relu:out s2.1.conv1.weight -
add: s2.1.conv1:dsum@1 <- s2.1.conv1:dx@1 s2.1.conv1:dres@1
conv_norm_grad: s2.0.conv1:dx@1 - - - - <- s2.1.conv1:dsum@1 s2.0.conv1:out s2.relu:out s2.0.bn1.weight s2.0.bn1:mean s2.0.bn1:invstd s1.relu:out~2 s2.0.conv1.weight -
`},
		{"weights of a shared stage", "s2.sweep(1..2)", two(), `add: s2:dout@1..2 <- proj.pool:dx@1 s3.0.conv1:dx@2
conv_norm_grad: s2.1.conv1:dx@1..2 s2.1.conv1:dres@1..2 s2.1.bn1.weight:grad s2.1.bn1.bias:grad s2.1.conv1.weight:grad <- s2:dout@1..2 s2.1.conv1:out s2.relu:out~2 s2.1.bn1.weight s2.1.bn1:mean s2.1.bn1:invstd s2.relu:out s2.1.conv1.weight -
add: s2.1.conv1:dsum@1..2 <- s2.1.conv1:dx@1..2 s2.1.conv1:dres@1..2
conv_norm_grad: - - s2.0.bn1.weight:grad s2.0.bn1.bias:grad s2.0.conv1.weight:grad <- s2.1.conv1:dsum@1..2 s2.0.conv1:out s2.relu:out s2.0.bn1.weight s2.0.bn1:mean s2.0.bn1:invstd s1.relu:out~2 s2.0.conv1.weight -
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Train(tt.net, Options{Turn: -1})
			if err != nil {
				t.Fatal(err)
			}
			if got := gradientOps(p, tt.segment); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}
