package cpu

// forwardConv is a convolution or dense product under way.
type forwardConv struct {
	geometry
	r           *run
	x           reader
	y           []float32
	packed      []float32
	start       []float32
	columnCount int // blocks of channels of all groups
}

// convDirect is the kernel of Conv and Dense.
func convDirect(r *run) error {
	g := newGeometry(r.attr, r.in[0], r.in[1], r.out[0])
	x := reader{x: input[float32](r, 0)}
	return convolveDirect(r, g, x, input[float32](r, 2), output[float32](r, 0), nil)
}

// convolveDirect convolves with the weights of argument 1; then is called for each unit when all its outputs
// are there and still near.
func convolveDirect(r *run, g geometry, x reader, bias, y []float32, then func(ws *workspace, number int, u unit)) error {
	if g.depthwise() {
		return depthwiseForward(r, g, x, bias, y, then)
	}
	c := forwardConv{geometry: g, r: r, x: x, y: y}
	var err error
	if c.packed, err = packForward(r, g, 1); err != nil {
		return err
	}
	c.start = startValues(r, g, bias)
	c.columnCount = g.groups * channelBlocks(r.lanes(), g.kg)
	units := g.units()
	splits := 1
	if then == nil {
		splits = columnSplits(units, c.columnCount)
	}
	return r.eachCounted(units*splits, func(tile int, ws *workspace) int {
		u := g.unit(tile/splits, units)
		from, to := span(tile%splits, splits, c.columnCount)
		c.ahead(ws.ahead.none(), tile/splits, units)
		done := c.unit(ws, u, from, to)
		if then != nil {
			then(ws, tile, u)
		}
		return done
	})
}

// columnSplits is into how many parts the channels are cut where units alone
// are too few.
func columnSplits(units, columns int) int {
	if units >= wantTiles {
		return 1
	}
	return min(parts(wantTiles, units), columns)
}

// ahead asks for the unit that this worker is likely to take next.
func (c *forwardConv) ahead(a *ahead, number, units int) {
	if next := number + c.r.workers(); next < units {
		u := c.geometry.unit(next, units)
		g := c.geometry.of(u)
		a.add(c.x.x[c.input(u):][:g.inputSize()])
		a.add(c.y[c.output(u):][:g.outputSize()])
	}
}

// unit computes columns [from,to) of a unit and returns the multiply-adds.
func (c *forwardConv) unit(ws *workspace, u unit, from, to int) int {
	g := c.geometry.of(u)
	p := g.inputPlane()
	lanes := c.r.lanes()
	call := stencilCall{
		set: c.r.b.tier.set, packed: c.packed, start: c.start,
		in: c.x.unit(ws, c.geometry, u, p), ahead: &ws.ahead,
		out: c.y[c.output(u):],
	}
	call.pictures, call.inStep, call.outStep = g.n, p.size(), g.oh*g.ow*g.k
	call.columns(ws, from, to, func(group int) stencil { return g.forward(p, lanes, group) })
	return g.n * g.oh * g.ow * (firstChannel(lanes, g.kg, to) - firstChannel(lanes, g.kg, from)) * g.patch()
}

// firstChannel is the first channel of a column, n channels being a group's.
func firstChannel(lanes, n, column int) int {
	blocks := channelBlocks(lanes, n)
	return column/blocks*n + min(n, column%blocks*2*lanes)
}

// workers is the number of tiles computed at a time.
func (r *run) workers() int { return len(r.b.pool.all) }

// lanes is the number of elements of the tier's vectors.
func (r *run) lanes() int { return r.b.tier.set.Lanes }

// packForward is the weights of argument i in the order of stencils.
func packForward(r *run, g geometry, i int) ([]float32, error) {
	lanes, w := r.lanes(), input[float32](r, i)
	blocks, perGroup := channelBlocks(lanes, g.kg), g.patch()*paddedChannels(lanes, g.kg)
	return r.packed(i, g, false, g.packedForward(lanes), func(packed []float32) error {
		return r.each(g.groups*blocks, func(tile int, _ *workspace) {
			group, b := tile/blocks, channelBlock(lanes, g.kg, tile%blocks)
			dst := packed[group*perGroup+b.from*g.patch():]
			interleave(dst, w[(group*g.kg+b.from)*g.patch():], b.n, g.patch(), b.vecs*lanes)
		})
	})
}

// interleaveChunk is how many columns are written before the next rows come:
// they stay in the first cache level.
const interleaveChunk = 64

// interleave writes n rows of length elements as columns of rows of width
// elements; columns beyond n are zeros.
func interleave(dst, src []float32, n, length, width int) {
	if n < width {
		clear(dst[:length*width])
	}
	for from := 0; from < length; from += interleaveChunk {
		cols := min(interleaveChunk, length-from)
		part := dst[from*width:][:cols*width]
		i := 0
		for ; i+4 <= n; i += 4 {
			a, b := src[i*length+from:][:cols], src[(i+1)*length+from:][:cols]
			c, d := src[(i+2)*length+from:][:cols], src[(i+3)*length+from:][:cols]
			for at := range a {
				four := part[at*width+i:][:4]
				four[0], four[1], four[2], four[3] = a[at], b[at], c[at], d[at]
			}
		}
		for ; i < n; i++ {
			for at, v := range src[i*length+from:][:cols] {
				part[at*width+i] = v
			}
		}
	}
}

// startValues are the first values of the sums: the bias, or zeros.
func startValues(r *run, g geometry, bias []float32) []float32 {
	padded := paddedChannels(r.lanes(), g.kg)
	start := zeroed[float32](&r.shared, slotStart, g.groups*padded)
	if bias != nil {
		for i := range g.groups {
			copy(start[i*padded:], bias[i*g.kg:][:g.kg])
		}
	}
	return start
}
