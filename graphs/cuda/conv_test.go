package cuda

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/cuda/emulate"
)

// bench is a backend on emulated kernels with maps of numbers that follow from
// their places.
type bench struct {
	*testing.T
	b    *Backend
	r    run
	seed uint32
}

func newBench(t *testing.T) *bench {
	t.Helper()
	d, c := emulate.Open(t)
	b, err := New(Options{Device: d, Compiler: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return &bench{T: t, b: b, r: run{b: b, lane: b.lane}, seed: 1}
}

// TestOnHost runs what needs kernels, which take seconds to compile, on one
// backend.
func TestOnHost(t *testing.T) {
	b := newBench(t)
	for name, test := range map[string]func(*bench){
		"tiles give the same bytes": tilesGiveTheSameBytes,
		"weight tiles":              weightTiles,
		"read through norm":         readThroughNorm,
	} {
		for _, maps := range []driver.Type{driver.F32, driver.BF16} {
			t.Run(name+" in "+maps.String(), func(t *testing.T) { test(b.on(t, maps)) })
		}
	}
	t.Run("ntxent of large and small", func(t *testing.T) { ntxentOfLargeAndSmall(b.on(t, driver.F32)) })
}

// on is a bench on the same backend for another test, with maps of a type.
func (b *bench) on(t *testing.T, maps driver.Type) *bench {
	return &bench{T: t, b: b.b, r: run{b: b.b, lane: b.b.lane, maps: maps}, seed: 1}
}

// numbers are n numbers between -1 and 1 that maps can hold.
func (b *bench) numbers(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		b.seed = b.seed*1664525 + 1013904223
		v[i] = float32(int32(b.seed)>>8) / (1 << 23)
	}
	return decodedAs(b.r.maps, encodedAs(b.r.maps, v))
}

// put copies numbers to the device, shift bytes behind an address that is a
// multiple of 256.
func (b *bench) put(v []float32, shift int) driver.Pointer {
	b.Helper()
	return b.upload(encoded(v), shift)
}

// putMap is put for a map.
func (b *bench) putMap(v []float32, shift int) driver.Pointer {
	b.Helper()
	return b.upload(encodedAs(b.r.maps, v), shift)
}

func (b *bench) upload(raw []byte, shift int) driver.Pointer {
	b.Helper()
	m, err := b.b.alloc(int64(len(raw) + shift))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { b.b.Free(m) })
	at := m.at + driver.Pointer(shift)
	if err := b.b.dev.Upload(at, raw, b.b.lane.stream); err != nil {
		b.Fatal(err)
	}
	return at
}

func encoded(v []float32) []byte { return encodedAs(driver.F32, v) }

// encodedAs is numbers as they lie in memory, decodedAs the numbers that lie there.
func encodedAs(kind driver.Type, v []float32) []byte {
	var raw []byte
	for _, x := range v {
		if kind == driver.BF16 {
			raw = binary.LittleEndian.AppendUint16(raw, op.Narrow(x))
		} else {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
		}
	}
	return raw
}

func decodedAs(kind driver.Type, raw []byte) []float32 {
	v := make([]float32, len(raw)/kind.Size())
	for i := range v {
		if kind == driver.BF16 {
			v[i] = op.Widen(binary.LittleEndian.Uint16(raw[2*i:]))
		} else {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
	}
	return v
}

func (b *bench) get(at driver.Pointer, n int) []float32 {
	b.Helper()
	return b.download(at, driver.F32, n)
}

// getMap is get for a map.
func (b *bench) getMap(at driver.Pointer, n int) []float32 {
	b.Helper()
	return b.download(at, b.r.maps, n)
}

func (b *bench) download(at driver.Pointer, kind driver.Type, n int) []float32 {
	b.Helper()
	raw := make([]byte, kind.Size()*n)
	if err := b.b.dev.Download(raw, at, b.b.lane.stream); err != nil {
		b.Fatal(err)
	}
	return decodedAs(kind, raw)
}

// near holds numbers to what they are to be, nearMap those of a map, which may have
// been rounded.
func (b *bench) near(got []float32, want []float64, what string) {
	b.Helper()
	b.within(1e-5, got, want, what)
}

func (b *bench) nearMap(got []float32, want []float64, what string) {
	b.Helper()
	if b.r.maps == driver.BF16 {
		b.within(1.0/256, got, want, what)
		return
	}
	b.near(got, want, what)
}

func (b *bench) within(limit float64, got []float32, want []float64, what string) {
	b.Helper()
	top := 0.0
	for _, w := range want {
		top = max(top, math.Abs(w))
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= limit*top+1e-6) {
			b.Fatalf("%s: element %d is %g, not %g", what, i, got[i], w)
		}
	}
}

// shapeOf is a convolution whose groups have so many channels.
func shapeOf(n, h, w, cg, kg, groups, kh, kw, stride, pad int) geometry {
	g := geometry{n: n, h: h, w: w, c: cg * groups, k: kg * groups, kh: kh, kw: kw, stride: stride, pad: pad, groups: groups, cg: cg, kg: kg}
	g.oh, g.ow = op.ConvOut(h, kh, stride, pad), op.ConvOut(w, kw, stride, pad)
	return g
}

func (g geometry) String() string {
	return fmt.Sprintf("%dx%dx%dx%d to %d by %dx%d/%d+%d in %d", g.n, g.h, g.w, g.c, g.k, g.kh, g.kw, g.stride, g.pad, g.groups)
}

// eachProduct visits the places in x, w and y of every product.
func (g geometry) eachProduct(do func(x, w, y int)) {
	for p := range g.pixels() {
		img, i, j := p/(g.oh*g.ow), p/g.ow%g.oh*g.stride-g.pad, p%g.ow*g.stride-g.pad
		for t := range g.taps() {
			row, col := i+t/g.kw, j+t%g.kw
			if row < 0 || row >= g.h || col < 0 || col >= g.w {
				continue
			}
			for k := range g.k {
				for c := range g.cg {
					do(((img*g.h+row)*g.w+col)*g.c+k/g.kg*g.cg+c, (k*g.taps()+t)*g.cg+c, p*g.k+k)
				}
			}
		}
	}
}

// shapes: channels that fill tiles and that leave some over, strides larger than
// windows and maps, windows larger than maps.
var shapes = []geometry{
	shapeOf(2, 9, 7, 5, 3, 1, 3, 3, 1, 1),
	shapeOf(1, 6, 5, 8, 12, 1, 3, 2, 2, 0),
	shapeOf(3, 5, 5, 4, 20, 2, 1, 1, 1, 0),
	shapeOf(2, 5, 8, 3, 70, 1, 1, 1, 3, 0),
	shapeOf(1, 2, 3, 20, 8, 1, 5, 4, 1, 2),
	shapeOf(2, 3, 2, 4, 4, 3, 2, 2, 5, 1),
	shapeOf(1, 13, 11, 68, 132, 1, 1, 1, 1, 0),
	shapeOf(40, 1, 1, 24, 36, 1, 1, 1, 1, 0),
}

// tilesGiveTheSameBytes: every tile, with whole quads and without, makes the
// same sums, and the right ones.
func tilesGiveTheSameBytes(b *bench) {
	for _, g := range shapes {
		g.maps = b.r.maps
		x, w, bias := b.numbers(g.n*g.h*g.w*g.c), b.numbers(g.weights()), b.numbers(g.k)
		dy, more := b.numbers(g.pixels()*g.k), b.numbers(len(x))
		y, dx := make([]float64, len(dy)), make([]float64, len(x))
		for i := range y {
			y[i] = float64(bias[i%g.k])
		}
		for i := range dx {
			dx[i] = float64(more[i])
		}
		g.eachProduct(func(i, j, k int) {
			y[k] += float64(x[i]) * float64(w[j])
			dx[i] += float64(dy[k]) * float64(w[j])
		})
		var firstY, firstDX []byte
		for _, tile := range []tile{largeTile, mediumTile, tallTile} {
			for _, shift := range []int{0, 4} {
				what := fmt.Sprintf("%v, tile %v, %d bytes further", g, tile, shift)
				at, gradient := b.putMap(make([]float32, len(y)), shift), b.putMap(more, shift)
				pw := b.put(w, shift)
				b.check(b.r.convBy(tile, g, b.putMap(x, shift), pw, b.put(bias, shift), at))
				b.check(b.r.convInputBy(tile, g, b.putMap(dy, shift), pw, gradient, gradient))
				gotY, gotDX := b.getMap(at, len(y)), b.getMap(gradient, len(x))
				b.nearMap(gotY, y, what+": y")
				b.nearMap(gotDX, dx, what+": dx")
				firstY, firstDX = b.same(firstY, gotY, what+": y"), b.same(firstDX, gotDX, what+": dx")
			}
		}
	}
}

func (b *bench) check(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// same compares with the first bytes, if there are any, and returns them.
func (b *bench) same(first []byte, got []float32, what string) []byte {
	b.Helper()
	raw := encoded(got)
	if first != nil && !bytes.Equal(raw, first) {
		b.Fatalf("%s: other bytes than the first tile's", what)
	}
	return raw
}

// weightTiles: every tile makes the right sums, in one segment and in
// several, and adds them.
func weightTiles(b *bench) {
	for _, g := range append([]geometry{shapeOf(3, 16, 12, 6, 5, 1, 3, 3, 1, 1)}, shapes...) {
		g.maps = b.r.maps
		x, dy, before := b.numbers(g.n*g.h*g.w*g.c), b.numbers(g.pixels()*g.k), b.numbers(g.weights())
		dw := make([]float64, len(before))
		for i := range dw {
			dw[i] = float64(before[i])
		}
		g.eachProduct(func(i, j, k int) { dw[j] += float64(x[i]) * float64(dy[k]) })
		for _, tile := range []tile{largeTile, mediumTile, flatTile} {
			for _, shift := range []int{0, 8} {
				at := b.put(before, shift)
				b.check(b.r.convWeightBy(tile, g, b.putMap(x, shift), b.putMap(dy, shift), at))
				b.near(b.get(at, len(dw)), dw, fmt.Sprintf("%v, tile %v", g, tile))
			}
		}
	}
}

// readThroughNorm: a convolution and the gradient of its weights see x behind
// a norm, and zeros outside the map, depthwise ones too.
func readThroughNorm(b *bench) {
	for _, g := range []geometry{
		shapeOf(2, 5, 4, 4, 6, 2, 3, 3, 1, 1), shapeOf(3, 4, 4, 6, 5, 1, 1, 1, 1, 0),
		shapeOf(2, 6, 5, 1, 1, 8, 3, 3, 2, 1), shapeOf(2, 6, 5, 1, 1, 6, 3, 2, 1, 1),
	} {
		g.maps = b.r.maps
		for _, groups := range []int{0, 2} {
			x, w, dy := b.numbers(g.n*g.h*g.w*g.c), b.numbers(g.weights()), b.numbers(g.pixels()*g.k)
			scale, shift := b.numbers(g.c), b.numbers(g.c)
			stats := g.c
			if groups > 0 {
				stats = g.n * groups
			}
			mean, invstd := b.numbers(stats), b.numbers(stats)
			seen := make([]float64, len(x))
			for i, v := range x {
				c := i % g.c
				s := c
				if groups > 0 {
					s = i/(g.h*g.w*g.c)*groups + c/(g.c/groups)
				}
				seen[i] = max(0, (float64(v)-float64(mean[s]))*float64(invstd[s])*float64(scale[c])+float64(shift[c]))
				if g.maps == driver.BF16 {
					seen[i] = float64(op.Widen(op.Narrow(float32(seen[i]))))
				}
			}
			y, dw := make([]float64, len(dy)), make([]float64, len(w))
			g.eachProduct(func(i, j, k int) {
				y[k] += seen[i] * float64(w[j])
				dw[j] += seen[i] * float64(dy[k])
			})
			g.read = reading{b.put(scale, 0), b.put(shift, 0), b.put(mean, 0), b.put(invstd, 0), groups, true}
			what := fmt.Sprintf("%v, norm of %d groups", g, groups)
			px, at, sum := b.putMap(x, 0), b.putMap(make([]float32, len(y)), 0), b.put(make([]float32, len(w)), 0)
			b.check(b.r.conv(g, px, b.put(w, 0), 0, at))
			b.nearMap(b.getMap(at, len(y)), y, what+": y")
			b.check(b.r.convWeight(g, px, b.putMap(dy, 0), sum, 0))
			b.near(b.get(sum, len(w)), dw, what+": dw")
		}
	}
}

// TestChoices: which tile takes which product, and how sums are cut.
func TestChoices(t *testing.T) {
	for name, c := range map[string]struct {
		rows, cols, products int
		want                 tile
	}{
		"stage of a residual network": {256 * 28 * 28, 128, 1, largeTile},
		"its stem":                    {256 * 112 * 112, 64, 1, mediumTile},
		"small batch":                 {4 * 7 * 7, 512, 1, mediumTile},
		"groups of four channels":     {256 * 28 * 28, 4, 32, tallTile},
		"one element":                 {1, 1, 1, tallTile},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tileFor(c.rows, c.cols, c.products); got != c.want {
				t.Errorf("got %v, not %v", got, c.want)
			}
		})
	}
	for _, pixels := range []int{1, 15, 255, 256, 257, 1000, 6422528} {
		for _, blocks := range []int{1, 3, 100, 1000} {
			s := cut(pixels, blocks, 256)
			if s.count < 1 || s.count*s.length < pixels || (s.count-1)*s.length >= pixels || s.length%16 != 0 {
				t.Errorf("%d pixels, %d blocks: %+v", pixels, blocks, s)
			}
		}
	}
}

// TestTooManyBlocks: a product that no grid holds is refused.
func TestTooManyBlocks(t *testing.T) {
	r := run{}
	err := r.line("conv_64x64", math.MaxInt32+1)
	if want := "kernel conv_64x64: 2147483648 blocks are more than a grid holds"; err == nil || err.Error() != want {
		t.Errorf("got %v, not %s", err, want)
	}
}
