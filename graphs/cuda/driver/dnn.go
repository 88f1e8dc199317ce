package driver

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
	"unsafe"
)

// Conv is a convolution of maps [N,H,W,C] with weights [K,R,S,C/Groups] into
// maps [N,OH,OW,K], as the op table defines it: a correlation, zero outside the
// map, padded alike on both sides.
type Conv struct {
	N, H, W, C int
	K, R, S    int
	Stride     int // 1 at least
	Pad        int
	Groups     int // 1 at least
	// Type is that of maps and weights alike, but that weights are float32 with
	// WideFilter; sums are float32. With TF32, factors that are float32 lose 13
	// bits before they are multiplied.
	Type       Type
	WideFilter bool
	TF32       bool
}

// Out are the height and width of the results.
func (c *Conv) Out() (h, w int) {
	return (c.H+2*c.Pad-c.R)/c.Stride + 1, (c.W+2*c.Pad-c.S)/c.Stride + 1
}

// Way is one of a convolution's three computations.
type Way int

// The ways: y from x and w; dx from dy and w; dw from x and dy.
const (
	Forward Way = iota
	BackwardData
	BackwardFilter
)

func (w Way) String() string { return [...]string{"forward", "backward data", "backward filter"}[w] }

// Algo is a way to compute that cuDNN offers. It is plain data, so that a run can
// keep it and one that goes on use it again.
type Algo struct {
	// ID is cuDNN's number for the algorithm, of those of its Way; Math its math
	// type.
	ID, Math int
	// Workspace is what it needs, in bytes.
	Workspace int64
	// Milliseconds is the time that was measured, 0 where none was.
	Milliseconds float32
}

// Maps are the places of a convolution's maps and weights, or of their
// gradients: X of x or dx, W of w or dw, Y of y or dy.
type Maps struct{ X, W, Y Pointer }

// DNN convolves in a card's memory. Calls of several goroutines wait for each
// other while they are queued; a DNN for each unit does not.
type DNN interface {
	// Algos are the algorithms by which cuDNN can compute and whose sums have one
	// order, the likely fastest first. Nothing runs.
	Algos(c *Conv, w Way) ([]Algo, error)
	// Measure runs those algorithms that need no more than the workspace, and
	// gives them fastest first; it waits, and writes results of any content.
	Measure(c *Conv, w Way, m Maps, workspace Pointer, bytes int64, s Stream) ([]Algo, error)
	// Run computes result = alpha * convolution + beta * result. Where beta is 0
	// the result is not read.
	Run(c *Conv, w Way, a Algo, alpha float32, m Maps, beta float32, workspace Pointer, bytes int64, s Stream) error
	// Version is the library's, such as 9.26.0 for CUDA 13.0.
	Version() string
	Close() error
}

// The constants of cuDNN's headers that are used; a test compares them.
const (
	dnnNHWC          = 1 // CUDNN_TENSOR_NHWC
	dnnFloat         = 0 // CUDNN_DATA_FLOAT
	dnnBF16          = 9 // CUDNN_DATA_BFLOAT16
	dnnCorrelation   = 1 // CUDNN_CROSS_CORRELATION
	dnnDeterministic = 1 // CUDNN_DETERMINISTIC
	dnnDefaultMath   = 0 // CUDNN_DEFAULT_MATH: on float32 it may be TF32
	dnnTensorMath    = 1 // CUDNN_TENSOR_OP_MATH
	dnnFMAMath       = 3 // CUDNN_FMA_MATH: factors as they are
	dnnMostAlgos     = 16
)

// dnnPerf is cudnnConvolutionFwdAlgoPerf_t and its two siblings.
type dnnPerf struct {
	algo          int32
	status        int32
	time          float32
	memory        uint64
	deterministic int32
	math          int32
	_             [3]int32
}

// convPlan is a Conv's descriptors.
type convPlan struct{ x, w, y, conv uintptr }

// dnns satisfies DNN.
type dnns struct {
	card   *card
	lib    *library
	handle uintptr

	mu     sync.Mutex // a handle serves one call at a time
	stream Stream
	plans  map[Conv]*convPlan
}

// NewDNN opens cuDNN for a Device that Open gave.
func NewDNN(d Device) (DNN, error) {
	c, err := opened(d)
	if err != nil {
		return nil, err
	}
	for _, l := range []lib{libcublasLt, libnvrtc} {
		_, _ = open(l) // cuDNN asks the loader for them by name, and finds what is open; it can do without
	}
	b, err := open(libcudnn)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", names[libcudnn].files[0], err)
	}
	n := &dnns{card: c, lib: b, plans: map[Conv]*convPlan{}}
	if err := n.do(cudnnCreate, uintptr(unsafe.Pointer(&n.handle))); err != nil {
		return nil, err
	}
	return n, nil
}

// do calls cuDNN in the card's context.
//
//go:uintptrescapes
func (n *dnns) do(p proc, args ...uintptr) error { return n.card.in(n.lib, p, args...) }

// check says what is wrong with a Conv.
func (c *Conv) check() error {
	if min(c.N, c.H, c.W, c.C, c.K, c.R, c.S, c.Stride, c.Groups) < 1 || c.Pad < 0 {
		return fmt.Errorf("a convolution of %+v", *c)
	}
	h, w := c.Out()
	switch {
	case c.H+2*c.Pad < c.R || c.W+2*c.Pad < c.S || h < 1 || w < 1:
		return fmt.Errorf("a window of %dx%d does not fit a map of %dx%d with padding %d", c.R, c.S, c.H, c.W, c.Pad)
	case c.C%c.Groups != 0 || c.K%c.Groups != 0:
		return fmt.Errorf("%d and %d channels do not split into %d groups", c.C, c.K, c.Groups)
	}
	for _, size := range []int{c.N * c.H * c.W * c.C, c.N * h * w * c.K} {
		if size > math.MaxInt32 {
			return fmt.Errorf("a map of %d elements; cuDNN counts to %d", size, math.MaxInt32)
		}
	}
	return nil
}

// begin gives a Conv's descriptors, and makes them the first time. The lock is
// held from here to the end of a call.
func (n *dnns) begin(c *Conv, mathType int) (*convPlan, error) {
	t := n.plans[*c]
	if t == nil {
		if err := c.check(); err != nil {
			return nil, err
		}
		t = &convPlan{}
		if err := n.describe(t, c); err != nil {
			n.drop(t)
			return nil, err
		}
		n.plans[*c] = t
	}
	return t, n.do(cudnnSetConvolutionMathType, t.conv, uintptr(mathType))
}

// describe fills descriptors.
func (n *dnns) describe(t *convPlan, c *Conv) error {
	kinds := [...]int{F32: dnnFloat, BF16: dnnBF16}
	kind, filter := kinds[c.Type], kinds[c.Type]
	if c.WideFilter {
		filter = dnnFloat
	}
	h, w := c.Out()
	if err := n.mapOf(&t.x, kind, c.N, c.C, c.H, c.W); err != nil {
		return err
	}
	if err := n.mapOf(&t.y, kind, c.N, c.K, h, w); err != nil {
		return err
	}
	if err := n.do(cudnnCreateFilterDescriptor, uintptr(unsafe.Pointer(&t.w))); err != nil {
		return err
	}
	err := n.do(cudnnSetFilter4dDescriptor, t.w, uintptr(filter), dnnNHWC, uintptr(c.K), uintptr(c.C/c.Groups), uintptr(c.R), uintptr(c.S))
	if err != nil {
		return err
	}
	if err := n.do(cudnnCreateConvolutionDescriptor, uintptr(unsafe.Pointer(&t.conv))); err != nil {
		return err
	}
	err = n.do(cudnnSetConvolution2dDescriptor, t.conv, uintptr(c.Pad), uintptr(c.Pad), uintptr(c.Stride), uintptr(c.Stride), 1, 1, dnnCorrelation, dnnFloat)
	if err != nil {
		return err
	}
	return n.do(cudnnSetConvolutionGroupCount, t.conv, uintptr(c.Groups))
}

// mapOf describes maps [n,h,w,c].
func (n *dnns) mapOf(at *uintptr, kind, pictures, c, h, w int) error {
	if err := n.do(cudnnCreateTensorDescriptor, uintptr(unsafe.Pointer(at))); err != nil {
		return err
	}
	return n.do(cudnnSetTensor4dDescriptor, *at, dnnNHWC, uintptr(kind), uintptr(pictures), uintptr(c), uintptr(h), uintptr(w))
}

// math is the math type by which algorithms are asked for. A float32 convolution
// is one only where factors stay as they are, which cuDNN's default does not
// promise.
func (c *Conv) math() int {
	if c.Type == F32 && !c.TF32 {
		return dnnFMAMath
	}
	return dnnTensorMath
}

// keep are the algorithms that can run, are right and keep the order of sums, in
// the order of the list. Where factors are to stay as they are, what is offered
// with the default is run with that math all the same.
func (c *Conv) keep(list []dnnPerf, limit int64) (algos []Algo) {
	for _, p := range list {
		if p.status != 0 || p.deterministic != dnnDeterministic || int64(p.memory) > limit {
			continue
		}
		a := Algo{int(p.algo), int(p.math), int64(p.memory), max(p.time, 0)}
		if c.math() == dnnFMAMath {
			if p.math != dnnFMAMath && p.math != dnnDefaultMath {
				continue
			}
			a.Math = dnnFMAMath
		}
		algos = append(algos, a)
	}
	return algos
}

// Algos implements DNN.
func (n *dnns) Algos(c *Conv, w Way) ([]Algo, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t, err := n.begin(c, c.math())
	if err != nil {
		return nil, err
	}
	list := make([]dnnPerf, dnnMostAlgos)
	var got int32
	p, a := t.get(w)
	err = n.do(p, n.handle, a[0], a[1], a[2], a[3], dnnMostAlgos, uintptr(unsafe.Pointer(&got)), uintptr(unsafe.Pointer(&list[0])))
	if err != nil {
		return nil, err
	}
	return c.some(w, c.keep(list[:got], math.MaxInt64))
}

// get is how to ask for a way's algorithms: the function and its descriptors.
func (t *convPlan) get(w Way) (proc, [4]uintptr) {
	switch w {
	case Forward:
		return cudnnGetForwardAlgorithm, [4]uintptr{t.x, t.w, t.conv, t.y}
	case BackwardData:
		return cudnnGetBackwardDataAlgorithm, [4]uintptr{t.w, t.y, t.conv, t.x}
	}
	return cudnnGetBackwardFilterAlgorithm, [4]uintptr{t.x, t.y, t.conv, t.w}
}

// some is a list that is not empty.
func (c *Conv) some(w Way, list []Algo) ([]Algo, error) {
	for i := range list {
		if math.IsNaN(float64(list[i].Milliseconds)) {
			list[i].Milliseconds = 0
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("cuDNN has no %v algorithm with one order of sums for %+v", w, *c)
	}
	return list, nil
}

// Measure implements DNN. Times that are equal keep cuDNN's order.
func (n *dnns) Measure(c *Conv, w Way, m Maps, workspace Pointer, bytes int64, s Stream) ([]Algo, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t, err := n.begin(c, c.math())
	if err != nil {
		return nil, err
	}
	if err := n.use(s); err != nil {
		return nil, err
	}
	list := make([]dnnPerf, dnnMostAlgos)
	var got int32
	p, a := t.find(w, m)
	err = n.do(p, n.handle, a[0], a[1], a[2], a[3], a[4], a[5], a[6], dnnMostAlgos,
		uintptr(unsafe.Pointer(&got)), uintptr(unsafe.Pointer(&list[0])), uintptr(workspace), uintptr(bytes))
	if err != nil {
		return nil, err
	}
	algos := c.keep(list[:got], bytes)
	slices.SortStableFunc(algos, func(a, b Algo) int { return cmp.Compare(a.Milliseconds, b.Milliseconds) })
	return c.some(w, algos)
}

// find is how to measure a way's algorithms: the function, its descriptors and
// places.
func (t *convPlan) find(w Way, m Maps) (proc, [7]uintptr) {
	x, f, y := uintptr(m.X), uintptr(m.W), uintptr(m.Y)
	switch w {
	case Forward:
		return cudnnFindForwardAlgorithm, [7]uintptr{t.x, x, t.w, f, t.conv, t.y, y}
	case BackwardData:
		return cudnnFindBackwardDataAlgorithm, [7]uintptr{t.w, f, t.y, y, t.conv, t.x, x}
	}
	return cudnnFindBackwardFilterAlgorithm, [7]uintptr{t.x, x, t.y, y, t.conv, t.w, f}
}

// use lets the handle's work go into a stream.
func (n *dnns) use(s Stream) error {
	if n.stream == s {
		return nil
	}
	if err := n.do(cudnnSetStream, n.handle, uintptr(s)); err != nil {
		return err
	}
	n.stream = s
	return nil
}

// Run implements DNN.
func (n *dnns) Run(c *Conv, w Way, a Algo, alpha float32, m Maps, beta float32, workspace Pointer, bytes int64, s Stream) error {
	if a.Workspace > bytes {
		return fmt.Errorf("a workspace of %d bytes for an algorithm that needs %d", bytes, a.Workspace)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	t, err := n.begin(c, a.Math)
	if err != nil {
		return err
	}
	if err := n.use(s); err != nil {
		return err
	}
	p, v := t.convolve(w, m)
	return n.do(p, n.handle, uintptr(unsafe.Pointer(&alpha)), v[0], v[1], v[2], v[3], t.conv, uintptr(a.ID),
		uintptr(workspace), uintptr(bytes), uintptr(unsafe.Pointer(&beta)), v[4], v[5])
}

// convolve is how to run a way: the function, descriptors and places.
func (t *convPlan) convolve(w Way, m Maps) (proc, [6]uintptr) {
	x, f, y := uintptr(m.X), uintptr(m.W), uintptr(m.Y)
	switch w {
	case Forward:
		return cudnnConvolutionForward, [6]uintptr{t.x, x, t.w, f, t.y, y}
	case BackwardData:
		return cudnnConvolutionBackwardData, [6]uintptr{t.w, f, t.y, y, t.x, x}
	}
	return cudnnConvolutionBackwardFilter, [6]uintptr{t.x, x, t.y, y, t.w, f}
}

// Version implements DNN.
func (n *dnns) Version() string {
	v, _ := n.lib.version() // this library's has no error
	return v
}

// drop frees a plan's descriptors, which are the host's memory.
func (n *dnns) drop(t *convPlan) {
	for _, d := range []struct {
		at   uintptr
		free proc
	}{
		{t.x, cudnnDestroyTensorDescriptor}, {t.y, cudnnDestroyTensorDescriptor},
		{t.w, cudnnDestroyFilterDescriptor}, {t.conv, cudnnDestroyConvolutionDescriptor},
	} {
		if d.at != 0 {
			_ = n.do(d.free, d.at)
		}
	}
}

// Close implements DNN; it comes before the Device's.
func (n *dnns) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range n.plans {
		n.drop(t)
	}
	n.plans = map[Conv]*convPlan{}
	if n.handle == 0 {
		return nil
	}
	handle := n.handle
	n.handle = 0
	return n.do(cudnnDestroy, handle)
}
