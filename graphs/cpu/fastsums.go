package cpu

import "github.com/locorun/locorun/graphs/cpu/vector"

// sumPixels is how many terms are summed in float32 before the sum goes on in
// float64.
const sumPixels = 128

// pixelSums is two sums over pixels for each channel, made by a kernel.
//
//	n pixels taken as one, 128 times  -> float32 sums of n*c channels
//	                                  -> added to float64 sums of n*c channels
//	at the end, and for the rest      -> added to float64 sums of c channels
type pixelSums struct {
	set      *vector.Set
	kernel   func(*byte)
	mean     []float32 // of each channel
	x, dy, y []float32 // dy and y may be absent
}

// sum writes the sums of the channels, one kind after the other.
func (p *pixelSums) sum(ws *workspace, sums []float64) {
	c := len(p.mean)
	pixels := len(p.x) / c
	n := vector.PixelGroup(p.set.Lanes, c, pixels)
	wide := n * c
	mem := scratch[float32](ws, slotSums, 3*wide)
	copy(mem, p.mean)
	vector.Repeat(mem[:wide], c)
	clear(sums)
	if n == 1 {
		p.parts(ws, 0, pixels, 1, mem, sums)
		return
	}
	whole := pixels / n * n
	acc := zeroed[float64](ws, slotGroup, 2*wide)
	p.parts(ws, 0, whole, n, mem, acc)
	fold(sums[:c], acc[:wide])
	fold(sums[c:], acc[wide:])
	if whole < pixels {
		p.parts(ws, whole, pixels, 1, mem, sums)
	}
}

// parts adds the sums of pixels [from,to), n taken as one, to sums. mem starts
// with the means, and has room for two sums.
func (p *pixelSums) parts(ws *workspace, from, to, n int, mem []float32, sums []float64) {
	c := len(p.mean)
	wide := n * c
	flat := &ws.flat
	*flat = vector.FlatTile{N: 2 * wide, A: first(mem[wide:]), B: first(sums)}
	for ; from < to; from += sumPixels * n {
		t := &ws.norm
		*t = vector.NormTile{Rows: 1, Pixels: min(sumPixels, (to-from)/n), Channels: wide}
		t.X, t.DY, t.Y = at(first(p.x), from*c), at(first(p.dy), from*c), at(first(p.y), from*c)
		t.Mean, t.Sum, t.Product = first(mem), first(mem[wide:]), first(mem[2*wide:])
		t.Run(p.kernel, p.set.Lanes)
		flat.Run(p.set.AddWide, p.set.Lanes)
	}
}

// fold adds runs of len(to) elements to to, one after another.
func fold(to, from []float64) {
	for ; len(from) > 0; from = from[len(to):] {
		for i, v := range from[:len(to)] {
			to[i] += v
		}
	}
}

// channelSums writes the sums of each channel of x, in float64 throughout: a
// sum of gradients may be much smaller than they are.
func channelSums(ws *workspace, set *vector.Set, x []float32, sums []float64) {
	c := len(sums)
	pixels := len(x) / c
	n := vector.PixelGroup(set.Lanes, c, pixels)
	mem := scratch[float64](ws, slotGroup, n*c+set.Lanes)
	t := &ws.norm
	total := func(from, pixels, c int) {
		*t = vector.NormTile{Rows: 1, Pixels: pixels, Channels: c, X: first(x[from:]), Sum: first(mem)}
		t.Run(set.NormTotals, set.Lanes)
		fold(sums, mem[:c])
	}
	clear(sums)
	whole := pixels / n
	if whole > 0 {
		total(0, whole, n*c)
	}
	if rest := pixels - whole*n; rest > 0 {
		total(whole*n*c, rest, c)
	}
}
