package lower

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
)

// chain is a net of n small stages with the given units (first, last).
func chain(n int, units [][2]int, edit func(*model.Net)) *model.Net {
	net := &model.Net{File: "chain.loco", Input: model.Shape{H: 8, W: 6, C: 3}}
	in := net.Input
	for s := range n {
		st := &model.Stage{Name: fmt.Sprintf("s%d", s+1), In: in, Tie: model.Shared}
		st.As = st.Name
		mid := model.Shape{H: in.H, W: in.W, C: 4 + s}
		add := func(l *model.Layer) *model.Layer { st.Layers = append(st.Layers, l); return l }
		add(conv("0.conv1", in, mid, 3, 1))
		add(&model.Layer{Kind: model.Norm, Name: "0.bn1", In: mid, Out: mid})
		add(&model.Layer{Kind: model.ReLU, In: mid, Out: mid})
		body := model.Branch{In: mid, Out: mid, Layers: []*model.Layer{
			conv("1.conv1", mid, mid, 3, 1),
			{Kind: model.Norm, Name: "1.bn1", In: mid, Out: mid},
		}}
		add(&model.Layer{Kind: model.Residual, In: mid, Out: mid, Branches: []model.Branch{{In: mid, Out: mid}, body}})
		add(&model.Layer{Kind: model.ReLU, In: mid, Out: mid})
		st.Out, in = mid, mid
		net.Stages = append(net.Stages, st)
	}
	loss := model.Loss{Temperature: 0.5}
	opt := model.Optimizer{Kind: "sgd", LR: 0.1, Momentum: 0.9}
	for i, u := range units {
		top := net.Stages[u[1]].Out
		net.Units = append(net.Units, &model.Unit{
			Name: fmt.Sprintf("u%d", i+1), First: u[0], Last: u[1], LR: 1, Loss: loss, Optimizer: opt,
			Decoder: proj(top),
		})
	}
	net.Train = model.Train{Batch: 4, Microbatch: 4, Epochs: 1, Loss: loss, Optimizer: opt}
	if edit != nil {
		edit(net)
	}
	return net
}

func conv(name string, in, out model.Shape, k, stride int) *model.Layer {
	return &model.Layer{Kind: model.Conv, Name: name, In: in, Out: out, KH: k, KW: k, Stride: stride, Pad: k / 2, Groups: 1}
}

func proj(in model.Shape) model.Decoder {
	flat, out := model.Shape{H: 1, W: 1, C: in.C}, model.Shape{H: 1, W: 1, C: 5}
	return model.Decoder{Name: "proj", In: in, Out: 5, Layers: []*model.Layer{
		{Kind: model.Pool, In: in, Out: flat},
		{Kind: model.Dense, Name: "fc1", In: flat, Out: out},
	}}
}

var loco3 = [][2]int{{0, 1}, {1, 2}, {2, 3}}

// programs are nets and options that between them use every road.
func programs() map[string]struct {
	net *model.Net
	opt Options
} {
	type c = struct {
		net *model.Net
		opt Options
	}
	together := Options{Turn: -1}
	deep := Options{Turn: -1, Depth: 3}
	micro := func(batch bool) func(*model.Net) {
		return func(n *model.Net) {
			n.Train.Microbatch = 1
			for _, u := range n.Units {
				u.Loss.Batch = batch
			}
		}
	}
	watch := func(n *model.Net) {
		n.Watches = []*model.Watch{{Name: "stem", Stage: 0, Decoder: proj(n.Stages[0].Out), Loss: n.Train.Loss}}
	}
	return map[string]c{
		"e2e":                  {chain(4, [][2]int{{0, 3}}, nil), together},
		"gim":                  {chain(3, [][2]int{{0, 0}, {1, 1}, {2, 2}}, nil), together},
		"loco":                 {chain(4, loco3, watch), together},
		"loco deep":            {chain(4, loco3, micro(false)), deep},
		"loco kept":            {chain(4, loco3, micro(true)), together},
		"loco kept deep":       {chain(4, loco3, micro(true)), deep},
		"loco recomputed":      {chain(4, loco3, micro(true)), Options{Turn: -1, Recompute: true}},
		"loco recomputed deep": {chain(4, loco3, micro(true)), Options{Turn: -1, Recompute: true, Depth: 2}},
		"three":                {chain(5, [][2]int{{0, 2}, {1, 3}, {2, 4}}, nil), together},
		"three deep":           {chain(5, [][2]int{{0, 2}, {1, 3}, {2, 4}}, micro(false)), deep},
		"also":                 {chain(3, [][2]int{{0, 1}, {0, 1}, {1, 2}}, nil), together},
		"same start":           {chain(4, [][2]int{{0, 1}, {1, 2}, {1, 3}}, nil), together},
		"upper":                {chain(4, loco3, func(n *model.Net) { n.Stages[1].Tie = model.Upper }), together},
		"upper three":          {chain(5, [][2]int{{0, 2}, {1, 3}, {2, 4}}, func(n *model.Net) { n.Stages[2].Tie = model.Upper }), together},
		"residuals":            {residuals(), together},
		"residuals deep":       {residuals(), deep},
		"turn":                 {chain(3, [][2]int{{0, 0}, {1, 1}, {2, 2}}, nil), Options{Turn: 1}},
	}
}

func TestProgramsVerify(t *testing.T) {
	for name, c := range programs() {
		t.Run(name, func(t *testing.T) {
			p, err := Train(c.net, c.opt)
			if err != nil {
				t.Fatal(err)
			}
			var a, b bytes.Buffer
			p.Print(&a)
			q, _ := Train(c.net, c.opt)
			q.Print(&b)
			if a.String() != b.String() {
				t.Fatal("two lowerings differ")
			}
		})
	}
}

// TestCopiesHaveNamesOfTheirOwn puts two stages with the same layer names, and
// a decoder that has that name too, into one decoder.
func TestCopiesHaveNamesOfTheirOwn(t *testing.T) {
	net := chain(3, [][2]int{{0, 0}, {1, 2}}, func(n *model.Net) {
		d := &n.Units[0].Decoder
		own := conv("0.conv1", n.Stages[2].Out, n.Stages[2].Out, 1, 1)
		flat := model.Shape{H: 1, W: 1, C: n.Stages[2].Out.C}
		d.Layers = append([]*model.Layer{own}, &model.Layer{Kind: model.Pool, In: n.Stages[2].Out, Out: flat})
		for _, s := range []int{2, 1} {
			c := *n.Stages[s].Layers[0]
			d.Layers = append([]*model.Layer{&c}, d.Layers...)
			d.Copied = append([]model.Copied{{Stage: n.Stages[s].Name, Layers: 1}}, d.Copied...)
		}
	})
	p, err := Train(net, Options{Turn: -1})
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for _, q := range p.Params {
		if keys[q.Name] != "" {
			t.Errorf("two parameters are called %s", q.Name)
		}
		keys[q.Name] = q.Init.Key
	}
	for name, key := range map[string]string{
		"u1/proj.s2.0.conv1.weight": "s2.0.conv1.weight",
		"u1/proj.s3.0.conv1.weight": "s3.0.conv1.weight",
		"u1/proj.0.conv1.weight":    "u1/proj.0.conv1.weight",
	} {
		if keys[name] != key {
			t.Errorf("%s starts like %q, not %q", name, keys[name], key)
		}
	}
}

// shape of the sweeps: which run, where, with what.
func sweeps(p *ir.Program) string {
	var b strings.Builder
	for i := range p.Units {
		u := &p.Units[i]
		for k, e := range u.Events {
			var names []string
			for _, s := range e {
				names = append(names, p.Segments[s].Name())
			}
			fmt.Fprintf(&b, "%s.%d: %s", u.Name, k, strings.Join(names, " "))
			if len(u.Sends[k]) > 0 {
				fmt.Fprintf(&b, " ->%d", len(u.Sends[k]))
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func TestSweeps(t *testing.T) {
	want := map[string]string{
		"loco": `u1.0: u1/proj.sweep(1) s2.sweep(1) s1.sweep(1)
u1.1: s2.sweep(1..2) s2.sweep(1..2)
u2.0: u2/proj.sweep(2) s3.sweep(2) ->1
u2.1: s3.sweep(2..3) s3.sweep(2..3)
u3.0: u3/proj.sweep(3) s4.sweep(3) ->1
`,
		"three": `u1.0: u1/proj.sweep(1) s3.sweep(1) s2.sweep(1) s1.sweep(1)
u1.1: s3.sweep(1..2) s3.sweep(1..2) s2.sweep(1..2)
u1.2: s3.sweep(1..3) s3.sweep(1..3)
u2.0: u2/proj.sweep(2) s4.sweep(2) ->1
u2.1: s4.sweep(2..3) s4.sweep(2..3) ->1
u3.0: u3/proj.sweep(3) s5.sweep(3) ->1
`,
		"also": `u1.0: u1/proj.sweep(1)
u1.1: s2.sweep(1..2) s2.sweep(1..2) s1.sweep(1..2)
u1.2: s2.sweep(1..3) s2.sweep(1..3)
u2.0: u2/proj.sweep(2) ->1
u2.1: u2/proj.sweep(2..3) ->1
u3.0: u3/proj.sweep(3) s3.sweep(3) ->1
`,
		"upper": `u1.0: u1/proj.sweep(1) s2.sweep(1) s1.sweep(1)
u1.1: s2.sweep(2)
u2.0: u2/proj.sweep(2) s3.sweep(2) ->1
u2.1: s3.sweep(2..3) s3.sweep(2..3)
u3.0: u3/proj.sweep(3) s4.sweep(3) ->1
`,
	}
	for name, w := range want {
		c := programs()[name]
		p, err := Train(c.net, c.opt)
		if err != nil {
			t.Fatal(err)
		}
		if got := sweeps(p); got != w {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, w)
		}
	}
}

func TestEncoder(t *testing.T) {
	p, err := Encoder(chain(3, [][2]int{{0, 2}}, nil), 5)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Features) != 3 || p.Values[p.Features[2].Value].Shape[0] != 5 {
		t.Fatalf("features %+v", p.Features)
	}
	if err := newShadow(p).run(0); err != nil {
		t.Fatal(err)
	}
}

// TestEveryPassVerifies stops after each pass, checks every op against its row,
// and prints; from the updates on the whole program must verify.
func TestEveryPassVerifies(t *testing.T) {
	for name, c := range programs() {
		whole := false
		for _, pass := range Passes() {
			opt := c.opt
			opt.After = pass
			p, err := Train(c.net, opt)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := p.VerifyOps(); err != nil {
				t.Errorf("%s: after %s: %v", name, pass, err)
			}
			if whole = whole || pass == "updates"; whole {
				if err := p.Verify(); err != nil {
					t.Errorf("%s: after %s: %v", name, pass, err)
				}
			}
			var text bytes.Buffer
			if p.Print(&text); text.Len() == 0 {
				t.Errorf("%s: after %s: nothing printed", name, pass)
			}
		}
	}
}
