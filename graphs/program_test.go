package graphs

import (
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

func TestReadAndWriteConvert(t *testing.T) {
	s := newSketch()
	f := s.value("f", ir.Activation, op.F32, 2, 3)
	d := s.value("d", ir.Activation, op.F64, 2, 3)
	for _, v := range []ir.ValueID{f, d} {
		p := build(t, s, newSpy(t))
		for micro := range 2 {
			write(t, p, v, micro, 0.1, -2, float32(micro))
		}
		for micro := range 4 {
			if got := read(t, p, v, micro); !slices.Equal(got, []float32{0.1, -2, float32(micro % 2)}) {
				t.Errorf("%s of microbatch %d: %v", s.Values[v].Name, micro, got)
			}
		}
	}
	p := build(t, s, newSpy(t))
	write(t, p, d, 0, 0.1, 0, 0)
	if got := read64(t, p, d)[0]; got != float64(float32(0.1)) {
		t.Errorf("%v is not the float32 widened", got)
	}
	if got := p.Tensor(ir.None, 0); got.Buffer != nil || got.Shape != nil {
		t.Errorf("no value has the tensor %v", got)
	}
}

func TestReadAndWriteRefuse(t *testing.T) {
	s := newSketch()
	f := s.f32("f", 3)
	index := s.value("index", ir.Activation, op.I32, 1, 3)
	loose := s.f32("loose", 3)
	s.Values[loose].Space = 0
	p := build(t, s, newSpy(t))
	for _, c := range []struct {
		v     ir.ValueID
		micro int
		n     int
		want  string
	}{
		{f, 0, 2, "graphs: write f: 2 elements, not 3"},
		{f, -1, 3, "graphs: write: value f: no microbatch -1"},
		{index, 0, 3, "graphs: write: value index is i32, not floats"},
		{loose, 0, 3, "graphs: write: value loose has no place in the memory plan"},
		{99, 0, 3, "graphs: write: no value 99"},
		{ir.None, 0, 3, "graphs: write: no value -1"},
	} {
		err := p.Write(c.v, c.micro, make([]float32, c.n))
		if err == nil || err.Error() != c.want {
			t.Errorf("%v\nnot %s", err, c.want)
		}
		if c.v == f && c.micro == 0 {
			continue
		}
		want := strings.Replace(c.want, "write", "read", 1)
		if _, err := p.Read(c.v, c.micro); err == nil || err.Error() != want {
			t.Errorf("%v\nnot %s", err, want)
		}
	}
	p.Close()
	if _, err := p.Read(f, 0); err == nil || err.Error() != "graphs: read: value f: the program is closed" {
		t.Errorf("after Close: %v", err)
	}
}

func TestTensorPanicsOnAValueWithoutMemory(t *testing.T) {
	s := newSketch()
	loose := s.f32("loose", 3)
	s.Values[loose].Space = 0
	p := build(t, s, newSpy(t))
	defer func() {
		if v, want := recover(), "graphs: value loose has no place in the memory plan"; v != want {
			t.Errorf("panic %v, not %s", v, want)
		}
	}()
	p.Tensor(loose, 0)
}

// What no verified and planned program holds is refused with its reason.
func TestBuildRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(s sketch, x, e, all ir.ValueID)
		want string
	}{
		"no slots": {func(s sketch, x, _, _ ir.ValueID) { s.Values[x].Slots = 0 }, "value x: 0 slots"},
		"beyond the space": {func(s sketch, x, _, _ ir.ValueID) { s.Values[x].Offset = 1 << 20 },
			"value x: bytes 1048576 to 1048592 lie outside the 256 of the space arena"},
		"before the space": {func(s sketch, x, _, _ ir.ValueID) { s.Values[x].Offset = -64 },
			"value x: bytes -64 to -48 lie outside the 256 of the space arena"},
		"slots overlap": {func(s sketch, _, e, _ ir.ValueID) { s.Values[e].Stride = 8 }, "value e: slots of 16 bytes lie 8 apart"},
		"no such space": {func(s sketch, x, _, _ ir.ValueID) { s.Values[x].Space = 77 }, "value x: no space 77"},
		"gaps in a table": {func(s sketch, _, e, _ ir.ValueID) { s.Values[e].Stride = 24 },
			"value all: a table cannot join slots of 16 bytes that lie 24 apart"},
		"short table": {func(s sketch, _, _, all ir.ValueID) { s.Values[all].Shape = []int{2, 2} },
			"value all: a table of shape [2 2] cannot join 2 slots of [2 2]"},
		"table of another type": {func(s sketch, _, _, all ir.ValueID) { s.Values[all].Dtype = op.F64 },
			"value all: a table of f64[4 2] cannot join slots of f32[2 2]"},
		"unplanned": {func(s sketch, x, _, _ ir.ValueID) { s.Values[x].Space = 0 },
			`unit "mid": s3.0.relu (graph.loco:31:5): value x has no place in the memory plan`},
		"unplanned result": {func(s sketch, x, _, _ ir.ValueID) {
			s.Segments[0].Ops[0].In, s.Values[x].Space = ids(1), 0
			s.Segments[0].Ops[0].Out = ids(x)
		},
			`unit "mid": s3.0.relu (graph.loco:31:5): value x has no place in the memory plan`},
		"no arguments": {func(s sketch, _, _, _ ir.ValueID) { s.Segments[0].Ops[0].In = ids(ir.None) },
			`unit "mid": s3.0.relu (graph.loco:31:5): an op without arguments`},
		"no results": {func(s sketch, _, _, _ ir.ValueID) { s.Segments[0].Ops[0].Out = nil },
			`unit "mid": s3.0.relu (graph.loco:31:5): an op without results`},
		"one name twice": {func(s sketch, _, _, _ ir.ValueID) {
			s.Values[0].Name = "y"
			s.Segments[0].Ops[1].In = ids(0, 1)
			s.Segments[0].Ops = s.Segments[0].Ops[1:]
		},
			`unit "mid": s3.0.add (graph.loco:31:5): two values are called y`},
		"no such value": {func(s sketch, _, _, _ ir.ValueID) { s.Segments[0].Ops[1].In = ids(0, 99) },
			`unit "mid": s3.0.add (graph.loco:31:5): panic: runtime error: index out of range [99] with length 5`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSketch()
			x, y, z := s.f32("x", 4), s.f32("y", 4), s.f32("z", 4)
			e := s.value("e", ir.Embedding, op.F32, 2, 2, 2)
			all := s.table("all", e)
			s.segment("s1", do(op.ReLU, op.Attr{}, ids(x), ids(y)), do(op.Add, op.Attr{}, ids(x, y), ids(z)))
			c.edit(s, x, e, all)
			b := newSpy(t)
			_, err := Build(s.Program, b)
			if want := "graphs of sketch: " + c.want; err == nil || err.Error() != want {
				t.Errorf("%v\nnot %s", err, want)
			}
			if b.freed != 1 {
				t.Errorf("%d buffers freed, not 1", b.freed)
			}
		})
	}
}

// poor is a backend that runs out of memory.
type poor struct {
	*spy
	left int
}

func (p *poor) Alloc(n int64) (device.Buffer, error) {
	if p.left--; p.left < 0 {
		return nil, errors.New("out of memory")
	}
	return p.spy.Alloc(n)
}

func TestBuildWithoutMemory(t *testing.T) {
	s := newSketch()
	s.f32("x", 4)
	s.value("w", ir.Weight, op.F32, 1, 4)
	b := &poor{newSpy(t), 1}
	_, err := Build(s.Program, b)
	if want := "graphs of sketch: 64 bytes for the space weights: out of memory"; err == nil || err.Error() != want {
		t.Errorf("%v\nnot %s", err, want)
	}
	if b.freed != 1 {
		t.Errorf("%d buffers freed, not 1", b.freed)
	}
}

func TestPrint(t *testing.T) {
	s := newSketch()
	x := s.value("mid/s3:in", ir.Map, op.F32, 2, 2, 4, 4, 3)
	w := s.value("s3.0.conv1.weight", ir.Weight, op.F32, 1, 5, 3, 3, 3)
	z := s.f32("mid/s3.0.conv1:out", 2, 4, 4, 5)
	y, index := s.f32("mid/s3.0.pool:out", 2, 2, 2, 5), s.value("mid/s3.0.pool:index", ir.Activation, op.I32, 1, 2, 2, 2, 5)
	other := s.f32("mid/s3:other", 2, 4, 4, 3)
	back := s.f32("mid/s3.0.pool:dx", 2, 4, 4, 5)
	window := op.Attr{KH: 2, KW: 2, Stride: 2, H: 4, W: 4}
	s.segment("s3",
		do(op.Conv, op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1}, ids(x, w, ir.None), ids(z)),
		do(op.PoolMax, window, ids(z), ids(y, index)),
		do(op.ReLU, op.Attr{}, ids(x), ids(other)),
		do(op.PoolMaxGrad, window, ids(y, index), ids(back)))
	var got strings.Builder
	p := build(t, s, newSpy(t))
	if err := p.Print(&got); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/print.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}
