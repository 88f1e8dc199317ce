package cuda

import (
	"errors"
	"fmt"

	"github.com/locorun/locorun/graphs/cuda/driver"
)

// task is a convolution's computation with its operands: of x and w into y, of dy
// and w into dx, of x and dy into dw. extra is what is added, 0 for nothing: the
// bias forward, a gradient of x backward, on which dx may lie. dw adds to what it
// has.
type task struct {
	g           geometry
	way         driver.Way
	a, b, extra driver.Pointer
	to          driver.Pointer
}

// own runs a task by our own kernels.
func (r *run) own(t task) error {
	switch t.way {
	case driver.Forward:
		return t.g.forward()(r, t.g, t.a, t.b, t.extra, t.to)
	case driver.BackwardData:
		return t.g.inputGradient()(r, t.g, t.a, t.b, t.to, t.extra)
	}
	return t.g.weightGradient()(r, t.g, t.a, t.b, t.to)
}

// The names of what computes, as they are kept with a run.
const (
	byOwn  = "own"
	byBLAS = "cublaslt"
	byDNN  = "cudnn"
)

// choice is what computes a task: our own kernels, the kernel of a Rank of
// cuBLASLt's, or an algorithm of cuDNN's.
type choice struct {
	By        string `json:"by"`
	Algorithm int    `json:"algorithm,omitempty"` // cuDNN's number, or the Rank
	Math      int    `json:"math,omitempty"`      // cuDNN's
	Workspace int64  `json:"workspace,omitempty"` // bytes, cuDNN's
	// Narrow: a gradient of weights is made in the type of maps, and added then.
	Narrow bool `json:"narrow,omitempty"`
}

func (c choice) String() string {
	switch c.By {
	case byBLAS:
		return fmt.Sprintf("cuBLASLt's kernel %d", c.Algorithm)
	case byDNN:
		text := fmt.Sprintf("cuDNN's algorithm %d with math %d", c.Algorithm, c.Math)
		if c.Narrow {
			text += " into bf16"
		}
		return text
	}
	return "our own kernels"
}

// algo is the choice as cuDNN takes it.
func (c choice) algo() driver.Algo {
	return driver.Algo{ID: c.Algorithm, Math: c.Math, Workspace: c.Workspace}
}

const (
	mostWorkspace = 256 << 20 // bytes of an algorithm that is looked at
	mostRanks     = 3         // of cuBLASLt's kernels
)

// Scratch memory of the libraries.
const (
	slotWorkspace slot = iota + 300
	slotNormed         // maps that are read through a norm
)

// libraries are NVIDIA's, nil where there is none. opened are the versions of
// those that are used: a run that began without one goes on without it.
type libraries struct {
	blas   driver.BLAS
	dnn    driver.DNN
	tf32   bool
	opened versions
}

// versions are the libraries', "" for one that is not used.
type versions struct {
	BLAS string `json:"cublaslt,omitempty"`
	DNN  string `json:"cudnn,omitempty"`
}

func (l *libraries) versions() (v versions) {
	if l.blas != nil {
		v.BLAS = l.blas.Version()
	}
	if l.dnn != nil {
		v.DNN = l.dnn.Version()
	}
	return v
}

// fit reports whether the libraries can be asked for a task: they want operands
// at multiples of 16 bytes, where a plan puts them, and maps that are not empty.
func (l *libraries) fit(t task) bool {
	g := t.g
	if l.opened == (versions{}) || min(g.n, g.h, g.w, g.c, g.oh, g.ow, g.k, g.kh, g.kw) < 1 {
		return false
	}
	return (t.a|t.b|t.extra|t.to)%16 == 0
}

// conv is a geometry as cuDNN takes it.
func (l *libraries) conv(g geometry) driver.Conv {
	return driver.Conv{
		N: g.n, H: g.h, W: g.w, C: g.c, K: g.k, R: g.kh, S: g.kw,
		Stride: g.stride, Pad: g.pad, Groups: g.groups,
		Type: g.maps, TF32: l.tf32 && g.maps == driver.F32,
	}
}

// dense reports whether a convolution is one product of matrices.
func dense(c driver.Conv) bool {
	return c.R == 1 && c.S == 1 && c.Stride == 1 && c.Pad == 0 && c.Groups == 1
}

// product is a dense convolution as cuBLASLt takes it: with m pixels, y[m,k] =
// x[m,c] wᵀ, dx[m,c] = dy[m,k] w, dw[k,c] = dyᵀ x, which is float32.
func product(c driver.Conv, way driver.Way, rank int) driver.Product {
	m := c.N * c.H * c.W
	p := driver.Product{AB: c.Type, C: c.Type, TF32: c.TF32, Rank: rank}
	switch way {
	case driver.Forward:
		p.M, p.N, p.K, p.TransB, p.StrideA, p.StrideB = m, c.K, c.C, true, c.C, c.C
	case driver.BackwardData:
		p.M, p.N, p.K, p.StrideA, p.StrideB = m, c.C, c.K, c.K, c.C
	case driver.BackwardFilter:
		p.M, p.N, p.K, p.TransA, p.StrideA, p.StrideB = c.K, c.C, m, true, c.K, c.C
		p.C = driver.F32
	}
	p.StrideC = p.N
	return p
}

// candidates are what can compute a convolution, our own kernels first. A library
// that refuses the shape is none.
func (l *libraries) candidates(c driver.Conv, way driver.Way) []choice {
	list := []choice{{By: byOwn}}
	if l.opened.BLAS != "" && dense(c) {
		p := product(c, way, 0)
		n, err := l.blas.Kernels(&p, driver.BLASWorkspace, mostRanks)
		for rank := 0; err == nil && rank < n; rank++ {
			list = append(list, choice{By: byBLAS, Algorithm: rank})
		}
	}
	if l.opened.DNN == "" {
		return list
	}
	for _, narrow := range filters(c.Type, way) {
		wanted := filtered(c, way, narrow)
		algos, err := l.dnn.Algos(&wanted, way)
		if err != nil {
			continue
		}
		for _, a := range algos {
			if a.Workspace <= mostWorkspace {
				list = append(list, choice{By: byDNN, Algorithm: a.ID, Math: a.Math, Workspace: a.Workspace, Narrow: narrow})
			}
		}
	}
	return list
}

// filters are the ways in which cuDNN is asked for: a gradient of weights, for
// narrow maps, as float32, which not every version has, and narrow.
func filters(maps driver.Type, way driver.Way) []bool {
	if maps == driver.BF16 && way == driver.BackwardFilter {
		return []bool{false, true}
	}
	return []bool{false}
}

// filtered is a convolution whose gradient of weights is narrow, or not.
func filtered(c driver.Conv, way driver.Way, narrow bool) driver.Conv {
	c.WideFilter = c.Type == driver.BF16 && way == driver.BackwardFilter && !narrow
	return c
}

// by runs a task as chosen.
func (r *run) by(c choice, t task) error {
	switch {
	case c.By == byOwn:
		return r.own(t)
	case c.Narrow:
		return r.apart(c, t)
	}
	return r.library(c, t)
}

// apart makes a gradient of weights in the type of maps and adds it.
func (r *run) apart(c choice, t task) error {
	n, to := t.g.weights(), t.to
	var err error
	if t.to, err = r.scratch(slotGradient, n*t.g.maps.Size()); err != nil {
		return err
	}
	if err := r.library(c, t); err != nil {
		return err
	}
	return r.each("add_narrow", n, uint64(t.to), uint64(to), i64(n))
}

// library runs a task by a library. A bias is added to what it has written, so that
// elements of narrow maps are rounded twice.
func (r *run) library(c choice, t task) error {
	var err error
	if t.a, err = r.readable(t); err != nil {
		return err
	}
	if t.way != driver.BackwardFilter {
		if t.b, err = r.narrowed(t.g, t.b); err != nil {
			return err
		}
	}
	beta, err := r.base(c, t)
	if err != nil {
		return err
	}
	if c.By == byBLAS {
		err = r.multiply(c, t, beta)
	} else {
		err = r.convolve(c, t, beta)
	}
	if err != nil || t.way != driver.Forward || t.extra == 0 {
		return err
	}
	n := t.g.pixels() * t.g.k
	return r.each("add_bias", n, uint64(t.extra), uint64(t.to), i32(t.g.k), i64(n))
}

// base puts into the result what the convolution is added to, and gives the
// factor that it counts with.
func (r *run) base(c choice, t task) (beta float32, err error) {
	switch {
	case t.way == driver.BackwardFilter && !c.Narrow:
		return 1, nil
	case t.way == driver.BackwardFilter:
		return 0, nil
	case t.way == driver.Forward || t.extra == 0:
		return 0, nil
	case t.extra == t.to:
		return 1, nil
	}
	return 1, r.b.dev.Copy(t.to, t.extra, t.bytes(), r.lane.stream)
}

// readable is a task's first operand as a library reads it: where it is read
// through a norm, what the norm makes of it.
func (r *run) readable(t task) (driver.Pointer, error) {
	g := t.g
	if g.read.mean == 0 || t.way == driver.BackwardData {
		return t.a, nil
	}
	shape := []int{g.n, g.h, g.w, g.c}
	to, err := r.scratch(slotNormed, elements(shape)*g.maps.Size())
	if err != nil {
		return 0, err
	}
	s := newSets(shape, g.read.groups)
	quad := vector(g.c, uint64(t.a), uint64(to))
	return to, r.eachRow("norm_apply", s.rows, s.c, quad, uint64(t.a), 0, uint64(g.read.mean), uint64(g.read.invstd),
		uint64(g.read.scale), uint64(g.read.shift), uint64(to), i32(s.rows), i32(s.c), i32(s.cg), i64(s.pixels), flag(g.read.relu))
}

func (r *run) multiply(c choice, t task, beta float32) error {
	space, err := r.scratch(slotWorkspace, driver.BLASWorkspace)
	if err != nil {
		return err
	}
	l := &r.b.libraries
	p := product(l.conv(t.g), t.way, c.Algorithm)
	a, b := t.a, t.b
	if t.way == driver.BackwardFilter {
		a, b = b, a
	}
	return l.blas.Multiply(&p, 1, a, b, beta, t.to, space, driver.BLASWorkspace, r.lane.stream)
}

func (r *run) convolve(c choice, t task, beta float32) error {
	var space driver.Pointer
	if c.Workspace > 0 {
		var err error
		if space, err = r.scratch(slotWorkspace, int(c.Workspace)); err != nil {
			return err
		}
	}
	m := driver.Maps{X: t.a, W: t.b, Y: t.to}
	switch t.way {
	case driver.BackwardData:
		m = driver.Maps{X: t.to, W: t.b, Y: t.a}
	case driver.BackwardFilter:
		m = driver.Maps{X: t.a, W: t.to, Y: t.b}
	}
	l := &r.b.libraries
	conv := filtered(l.conv(t.g), t.way, c.Narrow)
	return l.dnn.Run(&conv, t.way, c.algo(), 1, m, beta, space, c.Workspace, r.lane.stream)
}

// close closes the libraries.
func (l *libraries) close() error {
	var blas, dnn error
	if l.blas != nil {
		blas = l.blas.Close()
	}
	if l.dnn != nil {
		dnn = l.dnn.Close()
	}
	return errors.Join(blas, dnn)
}
