package pipeline

import (
	"context"
	"fmt"
	"math/rand/v2"
)

// cell is a slot of fake memory: what lies there and whose it is. Nothing
// guards it but the pipeline's own order, so the race detector sees any gap,
// and a slot overwritten while needed shows as the wrong seq when it is read.
type cell struct {
	seq   int
	value uint64
}

type ring []cell

func (r ring) put(seq int, v uint64) { r[seq%len(r)] = cell{seq, v} }

func (r ring) take(seq int, what string) (uint64, error) {
	c := r[seq%len(r)]
	if c.seq != seq {
		return 0, fmt.Errorf("%s of %d is overwritten by %d", what, seq, c.seq)
	}
	return c.value, nil
}

func newRing(n int) ring {
	r := make(ring, max(n, 1))
	for i := range r {
		r[i].seq = -1
	}
	return r
}

// memory is all that the fake units of a chain share.
type memory struct {
	spec      *Spec
	images    ring
	maps      []ring   // by writer
	gradients [][]ring // by reader and message
	published []ring   // by owner: weights at a batch's start, by batch
}

// newMemory gives every value the slots the spec promises are enough.
func newMemory(s *Spec) *memory {
	m := &memory{spec: s, images: newRing(s.InputSlots)}
	for _, us := range s.Units {
		m.maps = append(m.maps, newRing(us.Slots))
		m.published = append(m.published, newRing(2))
		var g []ring
		for range us.Feedbacks {
			g = append(g, newRing(s.Window()))
		}
		m.gradients = append(m.gradients, g)
	}
	return m
}

func (m *memory) feed(_ context.Context, t Task) error {
	m.images.put(t.Seq, mix(uint64(t.Seq)))
	return nil
}

// mix hashes its arguments, in order.
func mix(xs ...uint64) uint64 {
	h := uint64(14695981039346656037)
	for _, x := range xs {
		h = (h ^ x) * 1099511628211
		h ^= h >> 29
	}
	return h
}

// fake is a unit whose tasks hash their inputs into their outputs. Sums are kept
// per event in the order of microbatches, as weight gradients are.
type fake struct {
	mem *memory
	u   int

	weights, stats, losses uint64
	embedded               []uint64 // of the batch, by microbatch
	lossGrads              []uint64
	frames                 ring
	prefixes               ring // gradient after the newest event
	sums                   []uint64

	log    []Task
	before func(Task) error
	after  func(Task)
}

func newChain(s *Spec) (*memory, []*fake) {
	mem := newMemory(s)
	var fs []*fake
	for u, us := range s.Units {
		f := &fake{mem: mem, u: u, weights: mix(uint64(u)),
			embedded: make([]uint64, s.Micros), lossGrads: make([]uint64, s.Micros),
			frames: newRing(s.Frames(u)), prefixes: newRing(s.Frames(u)),
			sums: make([]uint64, 1+us.Feedbacks)}
		f.publish(s.First)
		fs = append(fs, f)
	}
	return mem, fs
}

func units(fs []*fake) []Unit {
	us := make([]Unit, len(fs))
	for i, f := range fs {
		us[i] = f
	}
	return us
}

func (f *fake) spec() *UnitSpec { return &f.mem.spec.Units[f.u] }

func (f *fake) Run(_ context.Context, t Task) error {
	if f.before != nil {
		if err := f.before(t); err != nil {
			return err
		}
	}
	if err := f.do(t); err != nil {
		return err
	}
	f.log = append(f.log, t)
	if f.after != nil {
		f.after(t)
	}
	return nil
}

func (f *fake) do(t Task) error {
	switch t.Kind {
	case Embed:
		return f.forward(t, false)
	case Forward:
		return f.forward(t, true)
	case Loss:
		return f.loss(t)
	case Sweep:
		return f.sweep(t)
	}
	return f.update(t)
}

func (f *fake) input(seq int) (uint64, error) {
	if w := f.mem.spec.root(f.u); w >= 0 {
		return f.mem.maps[w].take(seq, "map")
	}
	return f.mem.images.take(seq, "images")
}

func (f *fake) forward(t Task, keep bool) error {
	x, err := f.input(t.Seq)
	if err != nil {
		return err
	}
	h := mix(x, f.weights)
	if f.mem.spec.writes(f.u) {
		f.mem.maps[f.u].put(t.Seq, mix(h, 1))
	}
	if keep {
		f.frames.put(t.Seq, h)
	}
	if keep && f.mem.spec.Recompute {
		if f.embedded[t.Micro] != h {
			return fmt.Errorf("%v gives other bytes than the first pass", t)
		}
		return nil
	}
	f.embedded[t.Micro] = h
	f.stats = mix(f.stats, h)
	return nil
}

func (f *fake) loss(t Task) error {
	if !f.mem.spec.BatchLoss {
		f.lossGrads[t.Micro] = mix(f.embedded[t.Micro])
		f.losses = mix(f.losses, f.lossGrads[t.Micro])
		return nil
	}
	l := mix(f.embedded...)
	f.losses = mix(f.losses, l)
	for m := range f.lossGrads {
		f.lossGrads[m] = mix(l, uint64(m))
	}
	return nil
}

func (f *fake) sweep(t Task) error {
	h, err := f.frames.take(t.Seq, "frame")
	if err != nil {
		return err
	}
	x, err := f.input(t.Seq)
	if err != nil {
		return err
	}
	g := f.lossGrads[t.Micro]
	if t.Event > 0 {
		if g, err = f.feedback(t); err != nil {
			return err
		}
	}
	f.prefixes.put(t.Seq, g)
	f.sums[t.Event] = mix(f.sums[t.Event], g, h, x)
	if sends := f.spec().Sends; sends[t.Event] {
		f.mem.gradients[f.u-1][count(sends[:t.Event])].put(t.Seq, mix(g, h, uint64(t.Event)))
	}
	return nil
}

func (f *fake) feedback(t Task) (uint64, error) {
	above, err := f.mem.gradients[f.u][t.Event-1].take(t.Seq, "gradient")
	if err != nil {
		return 0, err
	}
	own, err := f.prefixes.take(t.Seq, "prefix")
	return mix(own, above), err
}

func (f *fake) update(t Task) error {
	us := f.mem.spec.Units
	peers := []uint64{0, 0}
	for i, p := range []int{f.u + 1, f.u - 1} {
		if p < 0 || p >= len(us) || !us[min(f.u, p)].Tied {
			continue
		}
		w, err := f.mem.published[p].take(t.Batch, "published weight")
		if err != nil {
			return err
		}
		peers[i] = w
	}
	f.weights = mix(f.weights, mix(f.sums...), mix(peers...), uint64(t.Batch))
	clear(f.sums)
	f.publish(t.Batch + 1)
	return nil
}

func (f *fake) publish(batch int) { f.mem.published[f.u].put(batch, f.weights) }

// state is what must not depend on the schedule.
func state(fs []*fake) string {
	s := ""
	for _, f := range fs {
		s += fmt.Sprintf("%x %x %x\n", f.weights, f.stats, f.losses)
	}
	return s
}

// chain is a spec of n units of which neighbours share a stage, with stages in
// three units where wide is 2 and none shared where it is 0.
func chain(n, wide int) Spec {
	s := Spec{Micros: 1, Depth: 1, Batches: 3}
	for u := range n {
		s.Units = append(s.Units, UnitSpec{Name: fmt.Sprintf("u%d", u), Feedbacks: min(wide, n-1-u)})
	}
	for u := range s.Units {
		below := 0
		if u > 0 {
			below = s.Units[u-1].Feedbacks
		}
		for k := range 1 + s.Units[u].Feedbacks {
			s.Units[u].Sends = append(s.Units[u].Sends, k < below)
		}
	}
	return s
}

// randomChain draws a legal chain: any numbers of messages, any of the sweeps
// sending, relays and ties.
func randomChain(r *rand.Rand, n int) Spec {
	s := Spec{Micros: 1, Depth: 1, Batches: 3, Units: make([]UnitSpec, n)}
	for u := n - 1; u >= 0; u-- {
		us := &s.Units[u]
		us.Name = fmt.Sprintf("u%d", u)
		if u < n-1 {
			us.Feedbacks = r.IntN(min(4, 2+s.Units[u+1].Feedbacks))
			us.Relays, us.Tied = r.IntN(4) == 0, r.IntN(4) == 0
			s.Units[u+1].Sends = choose(r, 1+s.Units[u+1].Feedbacks, us.Feedbacks)
		}
	}
	s.Units[0].Sends = make([]bool, 1+s.Units[0].Feedbacks)
	return s
}

// choose sets k of n.
func choose(r *rand.Rand, n, k int) []bool {
	bs := make([]bool, n)
	for _, i := range r.Perm(n)[:k] {
		bs[i] = true
	}
	return bs
}
