package semantics

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/internal/reference"
	"github.com/locorun/locorun/runtime/rng"
)

// machine runs a program op by op, one batch after another, in the lean order.
type machine struct {
	t       testing.TB
	p       *ir.Program
	backend *cpu.Backend
	buffers map[ir.Space]device.Buffer
	batch   int // batches done
	// run runs a task and tensor finds a value for a microbatch: the machine's
	// own unless a test puts others.
	run    func(t ir.Task, micro int, lr float64, step int) error
	tensor func(v ir.ValueID, micro int) device.Tensor
	// Of the batch at hand.
	grads map[string][]float64
	ran   []ran
}

// ran is one op that was run.
type ran struct {
	segment *ir.Segment
	op      *ir.Op
	micro   int
}

// result is what one batch gave, and what there was after it.
type result struct {
	losses, gradients, statistics, weights map[string][]float64
}

func lowered(t testing.TB, n *model.Net, o lower.Options) *ir.Program {
	t.Helper()
	p, err := lower.Train(n, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newMachine lowers the net to run it from the reference's weights.
func newMachine(t testing.TB, n *model.Net, o lower.Options, ref *reference.Model) *machine {
	t.Helper()
	return newMachineOn(t, n, o, ref, cpu.Options{Workers: 2})
}

// newMachineOn is newMachine with a backend of other settings.
func newMachineOn(t testing.TB, n *model.Net, o lower.Options, ref *reference.Model, settings cpu.Options) *machine {
	t.Helper()
	p := lowered(t, n, o)
	m := &machine{t: t, p: p, backend: cpu.New(settings), buffers: map[ir.Space]device.Buffer{}}
	t.Cleanup(func() { m.backend.Close() })
	m.run, m.tensor = m.task, m.window
	for space, size := range p.Sizes {
		if size == 0 {
			continue
		}
		b, err := m.backend.Alloc(size)
		if err != nil {
			t.Fatal(err)
		}
		m.buffers[space] = b
	}
	m.load(ref)
	return m
}

// load writes the reference's weights and statistics. Both must have the same
// names.
func (m *machine) load(ref *reference.Model) {
	m.t.Helper()
	var mine []string
	for _, q := range m.p.Params {
		mine = append(mine, q.Name)
		from := ref.Weights
		if q.Kind == ir.Statistic {
			from = ref.Statistics
		}
		if v, ok := from[q.Name]; ok {
			m.write(q.Value, 0, v.V)
		}
	}
	theirs := slices.Concat(slices.Collect(maps.Keys(ref.Weights)), slices.Collect(maps.Keys(ref.Statistics)))
	slices.Sort(mine)
	slices.Sort(theirs)
	if !slices.Equal(mine, theirs) {
		m.t.Fatalf("the program has the parameters\n%v\nthe reference\n%v", mine, theirs)
	}
}

// window is a value's place for a microbatch, as the memory plan says.
func (m *machine) window(id ir.ValueID, micro int) device.Tensor {
	if id == ir.None {
		return device.Tensor{}
	}
	v := &m.p.Values[id]
	at := v.Offset + int64(micro%v.Slots)*v.Stride
	return device.Tensor{Buffer: m.buffers[v.Space], Offset: at, Shape: v.Shape, Dtype: v.Dtype}
}

// read gives a value's bytes as numbers.
func (m *machine) read(id ir.ValueID, micro int) []float64 {
	m.t.Helper()
	x := m.tensor(id, micro)
	raw := make([]byte, x.Bytes())
	if err := m.backend.Read(raw, x); err != nil {
		m.t.Fatal(err)
	}
	data := make([]float64, x.Elements())
	for i := range data {
		if x.Dtype == op.F64 {
			data[i] = math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:]))
		} else {
			data[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:])))
		}
	}
	return data
}

func (m *machine) write(id ir.ValueID, micro int, data []float64) {
	m.t.Helper()
	x := m.tensor(id, micro)
	var raw []byte
	for _, v := range data {
		if x.Dtype == op.F64 {
			raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(v))
		} else {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(v)))
		}
	}
	if err := m.backend.Write(x, raw); err != nil {
		m.t.Fatal(err)
	}
}

// task runs the segments of a task.
func (m *machine) task(t ir.Task, micro int, lr float64, step int) error {
	for _, id := range t {
		s := &m.p.Segments[id]
		for i := range s.Ops {
			o := &s.Ops[i]
			m.ran = append(m.ran, ran{s, o, micro})
			m.notice(o)
			c := device.Call{Code: o.Code, Attr: o.Attr, LR: lr, Step: step}
			for _, v := range o.In {
				c.In = append(c.In, m.tensor(v, micro))
			}
			for _, v := range o.Out {
				c.Out = append(c.Out, m.tensor(v, micro))
			}
			if err := m.backend.Run(&c); err != nil {
				return fmt.Errorf("%s: %s: %w", s.Name(), o.Layer, err)
			}
		}
	}
	return nil
}

// notice keeps the gradient that an update is about to use.
func (m *machine) notice(o *ir.Op) {
	if o.Code != op.SGD && o.Code != op.LARS && o.Code != op.AdamW {
		return
	}
	for _, q := range m.p.Params {
		if q.Grad == o.In[1] {
			m.grads[q.Name] = m.read(q.Grad, 0)
		}
	}
}

// turns runs a list of turns; each stretch of the order is repeated for every
// microbatch, with its pictures.
func (m *machine) turns(order []ir.Turn, pictures []reference.Map, lr float64) {
	m.t.Helper()
	must := func(err error) {
		m.t.Helper()
		if err != nil {
			m.t.Fatal(err)
		}
	}
	first := m.batch * m.p.Micros
	for len(order) > 0 {
		n := 1
		if order[0].Loop < 0 {
			must(m.once(order[0], lr))
			order = order[n:]
			continue
		}
		for n < len(order) && order[n].Loop == order[0].Loop {
			n++
		}
		for k, x := range pictures {
			m.write(m.p.Units[0].In, first+k, x.V)
			for _, turn := range order[:n] {
				must(m.run(turn.Task, first+k, lr, m.batch+1))
			}
		}
		order = order[n:]
	}
}

// once runs a task that runs once per batch: updates go by the batch's number,
// what is published by the coming one's, losses by the last microbatch's.
func (m *machine) once(t ir.Turn, lr float64) error {
	u := &m.p.Units[t.Unit]
	at := m.batch*m.p.Micros + m.p.Micros - 1
	switch {
	case slices.Equal(t.Task, u.Update):
		at = m.batch
	case slices.Equal(t.Task, u.Publish):
		at = m.batch + 1
	}
	return m.run(t.Task, at, lr, m.batch+1)
}

// step runs one batch.
func (m *machine) step(pictures []reference.Map, lr float64) result {
	m.t.Helper()
	if m.batch == 0 {
		for k := range m.p.Units {
			if err := m.run(m.p.Units[k].Publish, 0, lr, 0); err != nil {
				m.t.Fatal(err)
			}
		}
	}
	m.grads, m.ran = map[string][]float64{}, nil
	m.turns(m.p.Order(), pictures, lr)
	r := result{map[string][]float64{}, m.grads, map[string][]float64{}, map[string][]float64{}}
	first := m.batch * m.p.Micros
	for k := range m.p.Units {
		for _, l := range m.p.Units[k].Losses {
			total := 0.0
			for n := range m.p.Micros {
				if !l.PerBatch || n == m.p.Micros-1 {
					total += m.read(l.Value, first+n)[0]
				}
			}
			r.losses[l.Name] = []float64{total}
		}
	}
	for _, q := range m.p.Params {
		if q.Kind == ir.Statistic {
			r.statistics[q.Name] = m.read(q.Value, 0)
		} else {
			r.weights[q.Name] = m.read(q.Value, 0)
		}
	}
	m.batch++
	return r
}

// pictures are a batch's random pictures, a Map per microbatch.
func pictures(n *model.Net, batch int) []reference.Map {
	r := rng.New(7, "pictures", uint64(batch))
	var all []reference.Map
	for range n.Train.Batch / n.Train.Microbatch {
		x := reference.New(2*n.Train.Microbatch, n.Input.H, n.Input.W, n.Input.C)
		for i := range x.V {
			x.V[i] = r.Normal()
		}
		all = append(all, x)
	}
	return all
}

// step runs one batch of the reference.
func refStep(ref *reference.Model, pictures []reference.Map, lr float64, step int) result {
	b := ref.Batch(pictures)
	ref.Update(b.Gradients, lr, step)
	r := result{map[string][]float64{}, values(b.Gradients), values(ref.Statistics), values(ref.Weights)}
	for name, l := range b.Losses {
		r.losses[name] = []float64{l}
	}
	return r
}

// values copies the numbers of named maps.
func values(ms map[string]reference.Map) map[string][]float64 {
	vs := map[string][]float64{}
	for name, m := range ms {
		vs[name] = slices.Clone(m.V)
	}
	return vs
}

func sameBits(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }

// differ lists the tensors of which one side has none, or that are further
// apart than the tolerance times the length of the second; lengths below
// rounding (a bias in front of a norm has no gradient but that) count as 0. At
// tolerance 0 all bits must be the same.
func differ(got, want map[string][]float64, tolerance float64) []string {
	const rounding = 1e-13
	var bad []string
	for name := range maps.Keys(want) {
		if len(got[name]) != len(want[name]) {
			bad = append(bad, fmt.Sprintf("%s: %d elements, not %d", name, len(got[name]), len(want[name])))
			continue
		}
		if tolerance == 0 {
			if !slices.EqualFunc(got[name], want[name], sameBits) {
				bad = append(bad, name+": not the same bits")
			}
			continue
		}
		apart, length := 0.0, 0.0
		for i, w := range want[name] {
			apart += (got[name][i] - w) * (got[name][i] - w)
			length += w * w
		}
		apart, length = math.Sqrt(apart), math.Sqrt(length)
		if !(apart <= tolerance*length || apart <= rounding) {
			bad = append(bad, fmt.Sprintf("%s: %.3g apart, of %.3g", name, apart, length))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			bad = append(bad, name+": not expected")
		}
	}
	slices.Sort(bad)
	return bad
}

// compare is differ on all parts of a result.
func compare(got, want result, tolerance float64) []string {
	return slices.Concat(
		differ(got.losses, want.losses, tolerance),
		differ(got.gradients, want.gradients, tolerance),
		differ(got.statistics, want.statistics, tolerance),
		differ(got.weights, want.weights, tolerance),
	)
}
