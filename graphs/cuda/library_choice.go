package cuda

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
)

// problem is all of a task that a choice is made by: shapes, what norm x is read
// through, "batch" or "group", and whether the gradient of x is added to another,
// which not every algorithm can.
type problem struct {
	conv  driver.Conv
	way   driver.Way
	read  string
	added bool
}

func (l *libraries) problem(t task) problem {
	p := problem{conv: l.conv(t.g), way: t.way, added: t.way == driver.BackwardData && t.extra != 0}
	switch {
	case t.g.read.mean == 0 || t.way == driver.BackwardData:
	case t.g.read.groups > 0:
		p.read = "group"
	default:
		p.read = "batch"
	}
	return p
}

// compute runs a task by what is chosen for it, and chooses the first time.
func (r *run) compute(t task) error {
	b := r.b
	if !b.libraries.fit(t) {
		return r.own(t)
	}
	p := b.libraries.problem(t)
	if r.lane.recording() && !r.lane.ran[p] {
		return device.ErrNotRecorded // a library loads its kernels when they run first
	}
	c, ok := b.choices[p]
	if !ok {
		var err error
		if c, err = r.settle(p, t); err != nil {
			return err
		}
	}
	if err := r.by(c, t); err != nil {
		if r.lane.recording() && c.By != byOwn { // what a capture forbids, a library tells in words of its own
			err = fmt.Errorf("%w: %w", device.ErrNotRecorded, err)
		}
		return fmt.Errorf("by %v: %w", c, err)
	}
	r.lane.ran[p] = true
	return nil
}

// settle chooses while nothing else runs. Of lanes that meet the same problem, the
// first chooses.
func (r *run) settle(p problem, t task) (c choice, err error) {
	err = r.lane.alone(func() error {
		known := false
		if c, known = r.b.choices[p]; known {
			return nil
		}
		if c, err = r.choose(p, t); err != nil {
			return err
		}
		r.b.choices[p] = c
		return nil
	})
	return c, err
}

// choose measures what can compute a task, on its own operands, with results
// beside. The first of the fastest is chosen; a library's that fails is left out.
// Our own kernels are chosen where there is nothing to measure with: no clock, or
// no memory for results.
func (r *run) choose(p problem, t task) (choice, error) {
	list := r.b.libraries.candidates(p.conv, p.way)
	clock, ok := r.b.dev.(driver.Clock)
	if len(list) == 1 || !ok {
		return list[0], nil
	}
	trial, err := r.lane.alloc(t.bytes())
	if err != nil {
		return list[0], nil
	}
	defer r.lane.release(trial)
	if t.extra == t.to {
		t.extra = trial.at
	}
	t.to = trial.at
	best, least, err := list[0], time.Duration(0), error(nil)
	if least, err = r.measure(clock, best, t); err != nil {
		return best, err
	}
	for _, c := range list[1:] {
		if took, err := r.measure(clock, c, t); err == nil && took < least {
			best, least = c, took
		}
	}
	return best, nil
}

// bytes is the size of a task's result.
func (t task) bytes() int64 {
	switch t.way {
	case driver.Forward:
		return int64(t.g.pixels()*t.g.k) * int64(t.g.maps.Size())
	case driver.BackwardData:
		return int64(t.g.n*t.g.h*t.g.w*t.g.c) * int64(t.g.maps.Size())
	}
	return 4 * int64(t.g.weights())
}

// measure runs a task once to warm up, then times it; the best time counts.
func (r *run) measure(clock driver.Clock, c choice, t task) (least time.Duration, err error) {
	for i := range r.lane.timers {
		if r.lane.timers[i] == 0 {
			if r.lane.timers[i], err = clock.NewTimer(); err != nil {
				return 0, err
			}
		}
	}
	if err := r.by(c, t); err != nil {
		return 0, err
	}
	for i := range r.b.repeats {
		took, err := r.timed(clock, c, t)
		if err != nil {
			return 0, err
		}
		if i == 0 || took < least {
			least = took
		}
	}
	return least, nil
}

// timed is the time of one run.
func (r *run) timed(clock driver.Clock, c choice, t task) (time.Duration, error) {
	from, to := r.lane.timers[0], r.lane.timers[1]
	if err := r.b.dev.Record(from, r.lane.stream); err != nil {
		return 0, err
	}
	if err := r.by(c, t); err != nil {
		return 0, err
	}
	if err := r.b.dev.Record(to, r.lane.stream); err != nil {
		return 0, err
	}
	return clock.Elapsed(from, to)
}

// kept is a problem and its choice as they are kept with a run.
type kept struct {
	Way    string `json:"way"`
	X      [4]int `json:"x"` // n, h, w, c
	W      [4]int `json:"w"` // k, kh, kw, c of a group
	Stride int    `json:"stride"`
	Pad    int    `json:"pad"`
	Groups int    `json:"groups"`
	TF32   bool   `json:"tf32,omitempty"`
	Maps   string `json:"maps,omitempty"` // "bf16", or none: float32
	Read   string `json:"read,omitempty"`
	Added  bool   `json:"added,omitempty"`
	choice
}

// record is what was chosen, with the libraries that it was chosen among.
type record struct {
	versions
	Kernels []kept `json:"kernels"`
}

// Choices is what was chosen so far, as JSON: the same bytes for the same
// choices. It tells which libraries are used even where nothing was chosen.
func (b *Backend) Choices() []byte {
	b.quiet.RLock()
	defer b.quiet.RUnlock()
	doc := record{versions: b.libraries.opened, Kernels: []kept{}}
	for p, c := range b.choices {
		doc.Kernels = append(doc.Kernels, keep(p, c))
	}
	slices.SortFunc(doc.Kernels, kept.compare)
	text, err := json.Marshal(doc)
	if err != nil {
		panic("cuda: " + err.Error()) // numbers and words
	}
	return append(text, '\n')
}

func keep(p problem, c choice) kept {
	v := &p.conv
	return kept{
		Way: p.way.String(), X: [4]int{v.N, v.H, v.W, v.C}, W: [4]int{v.K, v.R, v.S, v.C / v.Groups},
		Stride: v.Stride, Pad: v.Pad, Groups: v.Groups, TF32: v.TF32, Maps: mapTypes()[v.Type], Read: p.read, Added: p.added, choice: c,
	}
}

// mapTypes are the words for types of maps: none for what was the only one once.
func mapTypes() []string { return []string{driver.F32: "", driver.BF16: driver.BF16.String()} }

// compare orders by problem.
func (k kept) compare(other kept) int {
	numbers := func(k kept) []int {
		return append(append(k.X[:], k.W[:]...), k.Stride, k.Pad, k.Groups, int(flag(k.TF32)), int(flag(k.Added)))
	}
	return cmp.Or(cmp.Compare(k.Way, other.Way), slices.Compare(numbers(k), numbers(other)), cmp.Compare(k.Maps, other.Maps),
		cmp.Compare(k.Read, other.Read))
}

// problem is what was chosen for.
func (k kept) problem() (problem, error) {
	ways := []string{driver.Forward.String(), driver.BackwardData.String(), driver.BackwardFilter.String()}
	way, maps := slices.Index(ways, k.Way), slices.Index(mapTypes(), k.Maps)
	p := problem{way: driver.Way(way), read: k.Read, added: k.Added, conv: driver.Conv{
		N: k.X[0], H: k.X[1], W: k.X[2], C: k.X[3], K: k.W[0], R: k.W[1], S: k.W[2],
		Stride: k.Stride, Pad: k.Pad, Groups: k.Groups,
		Type: driver.Type(maps), TF32: k.TF32,
	}}
	if way < 0 || maps < 0 || !slices.Contains([]string{"", "batch", "group"}, k.Read) || k.Groups < 1 || k.W[3]*k.Groups != k.X[3] || k.Stride < 1 {
		return p, fmt.Errorf("cuda: choices of kernels: %v is no convolution", k)
	}
	return p, nil
}

func (k kept) String() string {
	maps := k.Maps
	if maps != "" {
		maps += " "
	}
	return fmt.Sprintf("the convolution %s of %s%v by %v, stride %d, padding %d, %d groups", k.Way, maps, k.X, k.W, k.Stride, k.Pad, k.Groups)
}

// SetChoices takes what Choices gave to a run, so that one that goes on computes
// by the same kernels; choices made before are forgotten. A library that the run
// did without is not used from then on. One that is missing or of another
// version, or a kernel that is not offered any more, is an error that names it,
// and nothing changes.
func (b *Backend) SetChoices(text []byte) error {
	var doc record
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return fmt.Errorf("cuda: choices of kernels: %w", err)
	}
	b.quiet.Lock()
	defer b.quiet.Unlock()
	l := b.libraries
	if err := l.restrict(doc.versions); err != nil {
		return err
	}
	choices := map[problem]choice{}
	for _, k := range doc.Kernels {
		p, err := k.problem()
		if err != nil {
			return err
		}
		if err := l.offers(p, k); err != nil {
			return err
		}
		choices[p] = k.choice
	}
	b.libraries, b.choices = l, choices
	for _, l := range b.lanes() {
		clear(l.ran)
	}
	return nil
}

// restrict lets the libraries be those that a run used.
func (l *libraries) restrict(used versions) error {
	have := l.versions()
	for _, v := range []struct{ name, used, have string }{{"cuBLASLt", used.BLAS, have.BLAS}, {"cuDNN", used.DNN, have.DNN}} {
		switch {
		case v.used == "" || v.used == v.have:
		case v.have == "":
			return fmt.Errorf("cuda: the run computed with %s %s, which was not found here", v.name, v.used)
		default:
			return fmt.Errorf("cuda: the run computed with %s %s; here is %s", v.name, v.used, v.have)
		}
	}
	l.opened = used
	return nil
}

// offers says what is wrong with a choice.
func (l *libraries) offers(p problem, k kept) error {
	if !slices.Contains(l.candidates(p.conv, p.way), k.choice) {
		return fmt.Errorf("cuda: the run computed %v by %v, which is not offered here", k, k.choice)
	}
	return nil
}
