package cpu

import (
	"unsafe"

	"github.com/locorun/locorun/graphs/cpu/vector"
)

// A dense product in the vector tiers is a convolution whose pixels are the
// rows of a and whose channels are the columns of the result. Rows of a are
// read where they lie; b is packed into panels of two vectors of columns:
//
//	a: rows x depth          b: [panel][depth][2 vectors]
//	+--------------+          +----+----+--
//	| 7 rows       |          |    |    |
//	| 7 rows       |    x     |    |    |     one kernel call a panel, over
//	|   ...        |          |    |    |     all rows
//	+--------------+          +----+----+--
//
// A sum runs over the depth in order, in one accumulator, whatever the rows and
// columns beside it.

// panelProduct is a product of rows with one panel. A row of a comes in runs of
// depth elements, so that a may itself lie in panels.
type panelProduct struct {
	a                    []float32
	aStep, runs, runStep int // elements from row to row; runs, from one to the next
	depth                int // of a run
	panel                []float32
	c                    []float32
	cStep                int
	rows, cols           int
	add                  bool
}

// columnsOf is how many columns a panel of n columns at most is filled up to:
// one vector or two.
func columnsOf(set *vector.Set, n int) int {
	if n <= set.Lanes {
		return set.Lanes
	}
	return 2 * set.Lanes
}

// run computes c[i][j] (+)= sum over the depth of a[i][t]*panel[t][j]. It uses
// slotList and slotStart of ws.
func (p *panelProduct) run(set *vector.Set, ws *workspace) {
	t := &ws.conv
	vecs := columnsOf(set, p.cols) / set.Lanes
	t.Rows, t.Depth, t.RowStep = p.runs, p.depth, 4*p.runStep
	t.PixelStep, t.OutStep, t.Add = 4*p.aStep, 4*p.cStep, 0
	if p.add {
		t.Add = 1
	}
	t.A, t.B, t.C = unsafe.Pointer(&p.a[0]), unsafe.Pointer(&p.panel[0]), unsafe.Pointer(&p.c[0])
	t.Start = unsafe.Pointer(&zeroed[float32](ws, slotStart, 2*set.Lanes)[0])
	t.Mask = vector.MaskOf(p.cols - (vecs-1)*set.Lanes)
	list, width, wide := p.segments(set, ws)
	runSegments(set, t, list[:wide], width, vecs, nil)
	runSegments(set, t, list[wide:], width-1, vecs, nil)
	*t = vector.ConvTile{} // holds no pointer longer than needed
}

// segments cuts the rows into nearly equal segments: the first ones have width
// rows, the others one less.
func (p *panelProduct) segments(set *vector.Set, ws *workspace) (list []vector.Segment, width, wide int) {
	n := parts(p.rows, set.ConvWidth)
	width, wide = parts(p.rows, n), p.rows%n
	if wide == 0 {
		wide = n
	}
	list = scratch[vector.Segment](ws, slotList, n)
	row := 0
	for i := range list {
		list[i] = vector.Segment{In: 4 * row * p.aStep, Out: 4 * row * p.cStep}
		row += width
		if i >= wide {
			row--
		}
	}
	return list, width, wide
}

// runSegments runs the kernel that takes most segments at a time, and smaller
// ones on what is left. They ask for memory that is needed soon, if any.
func runSegments(set *vector.Set, t *vector.ConvTile, list []vector.Segment, width, vecs int, soon *ahead) {
	for at := len(set.Conv) - 1; len(list) > 0; at-- {
		kernel := set.Conv[at][width][vecs]
		if t.Groups = len(list) / at; t.Groups == 0 || kernel == nil {
			continue
		}
		t.List = &list[0]
		t.Ahead, t.AheadStep = soon.before(unsafe.Pointer(t))
		t.Run(kernel)
		soon.after(t.Ahead, t.AheadStep)
		list = list[t.Groups*at:]
	}
}

// productOf says what product32 computes.
type productOf struct {
	a, b, c           matrix[float32]
	rows, cols, depth int
	transposed        bool // b has a row for each column of c
	add               bool // to c
}

// product32 computes, inside one worker's tile,
//
//	c[i][j] (+)= sum over t of a[i][t] * b[t][j], or b[j][t] where transposed
//
// for i < rows, j < cols, t < depth, all at least 1. Nothing beyond them is read
// or written; c must not overlap a or b. It uses slotPanel, slotList and
// slotStart of ws.
func product32(set *vector.Set, ws *workspace, o productOf) {
	for j := 0; j < o.cols; j += 2 * set.Lanes {
		n := min(2*set.Lanes, o.cols-j)
		width := columnsOf(set, n)
		panel := scratch[float32](ws, slotPanel, o.depth*width)
		if o.transposed {
			packRows(panel, o.b.mem[j*o.b.stride:], o.b.stride, n, o.depth, width)
		} else {
			packColumns(panel, o.b.mem[j:], o.b.stride, n, o.depth, width)
		}
		p := panelProduct{
			a: o.a.mem, aStep: o.a.stride, runs: 1, depth: o.depth, panel: panel,
			c: o.c.mem[j:], cStep: o.c.stride, rows: o.rows, cols: n, add: o.add,
		}
		p.run(set, ws)
	}
}

// packRows writes n rows of src, of depth elements, as the columns of a panel
// that is width columns wide; the others are zeros.
func packRows(panel, src []float32, stride, n, depth, width int) {
	if n < width {
		clear(panel[:depth*width])
	}
	i := 0
	for ; i+4 <= n; i += 4 {
		a, b := src[i*stride:][:depth], src[(i+1)*stride:][:depth]
		c, d := src[(i+2)*stride:][:depth], src[(i+3)*stride:][:depth]
		for t := range a {
			four := panel[t*width+i:][:4]
			four[0], four[1], four[2], four[3] = a[t], b[t], c[t], d[t]
		}
	}
	for ; i < n; i++ {
		for t, v := range src[i*stride:][:depth] {
			panel[t*width+i] = v
		}
	}
}

// packColumns writes n columns of src, of depth rows, as a panel that is width
// columns wide; the others are zeros.
func packColumns(panel, src []float32, stride, n, depth, width int) {
	for t := range depth {
		row := panel[t*width:][:width]
		clear(row[copy(row, src[t*stride:][:n]):])
	}
}
