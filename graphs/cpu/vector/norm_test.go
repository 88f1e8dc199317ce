package vector

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// guardBits is what lies around operands in tests, a NaN; no operand holds it.
const guardBits = 0x7fc0beef

func isGuard(v float32) bool { return math.Float32bits(v) == guardBits }

// normCase is a NormTile with its operands in plain sight. Operands end at a
// fence, and all that is not theirs is a guard.
type normCase struct {
	tile  NormTile
	maps  map[string]*testMap
	names []string // of vectors of channels
	vecs  map[string][]float32
	fence map[string][]float32
}

// testMap is a map in rows of n elements that lie step elements apart.
type testMap struct {
	mem, all      []float32
	n, step, rows int
}

func (m *testMap) at(row, i int) *float32 { return &m.mem[row*m.step+i] }

func newNormCase(t *testing.T) *normCase {
	c := &normCase{maps: map[string]*testMap{}, vecs: map[string][]float32{}, fence: map[string][]float32{}}
	for _, n := range []string{"x", "y", "residual", "dy", "dx", "dresidual"} {
		c.maps[n] = &testMap{all: fence(t, 5<<10)}
	}
	for _, n := range []string{"mean", "gain", "shift", "slope", "sum", "product"} {
		c.fence[n] = fence(t, 70)
		c.names = append(c.names, n)
	}
	return c
}

// shape gives the operands a shape and numbers. gap is how many elements lie
// between two rows, one more for each operand.
func (c *normCase) shape(rows, pixels, channels, gap int) {
	c.tile = NormTile{Rows: rows, Pixels: pixels, Channels: channels}
	number := 0
	put := func(mem []float32) {
		for i := range mem {
			number++
			mem[i] = float32(number*7919%1013)/506 - 1
		}
	}
	for i, name := range []string{"x", "y", "residual", "dy", "dx", "dresidual"} {
		m := c.maps[name]
		m.n, m.rows, m.step = pixels*channels, rows, pixels*channels+min(gap, 1)*(gap+i)
		for i := range m.all {
			m.all[i] = math.Float32frombits(guardBits)
		}
		m.mem = m.all[len(m.all)-(rows-1)*m.step-m.n:]
		for r := range rows {
			put(m.mem[r*m.step:][:m.n])
		}
	}
	for _, name := range c.names {
		all := c.fence[name]
		for i := range all {
			all[i] = math.Float32frombits(guardBits)
		}
		c.vecs[name] = all[len(all)-channels:]
		put(c.vecs[name])
	}
	c.point()
}

// point lets the tile name the operands.
func (c *normCase) point() {
	p := func(name string) (unsafe.Pointer, int) {
		return unsafe.Pointer(&c.maps[name].mem[0]), 4 * c.maps[name].step
	}
	v := func(name string) unsafe.Pointer { return unsafe.Pointer(&c.vecs[name][0]) }
	t := &c.tile
	t.X, t.XRow = p("x")
	t.Y, t.YRow = p("y")
	t.Residual, t.ResidualRow = p("residual")
	t.DY, t.DYRow = p("dy")
	t.DX, t.DXRow = p("dx")
	t.DResidual, t.DResidualRow = p("dresidual")
	t.Mean, t.Gain, t.Shift, t.Slope = v("mean"), v("gain"), v("shift"), v("slope")
	t.Sum, t.Product = v("sum"), v("product")
}

// wanted are the results by loops in float64: one value for each element of a
// map, or for each channel of a vector.
type wanted map[string][]float64

// element visits the elements of the maps.
func (c *normCase) element(do func(i, ch int, v func(name string) float64)) {
	t := c.tile
	for r := range t.Rows {
		for e := range t.Pixels * t.Channels {
			ch := e % t.Channels
			do(r*t.Pixels*t.Channels+e, ch, func(name string) float64 {
				if m := c.maps[name]; m != nil {
					return float64(*m.at(r, e))
				}
				return float64(c.vecs[name][ch])
			})
		}
	}
}

func (c *normCase) results(maps []string, vecs []string) wanted {
	w := wanted{}
	for _, n := range maps {
		w[n] = make([]float64, c.tile.Rows*c.tile.Pixels*c.tile.Channels)
	}
	for _, n := range vecs {
		w[n] = make([]float64, c.tile.Channels)
	}
	return w
}

func (c *normCase) wantSums() wanted {
	w := c.results(nil, []string{"sum", "product"})
	c.element(func(_, ch int, v func(string) float64) {
		d := v("x") - v("mean")
		w["sum"][ch] += d
		w["product"][ch] += d * d
	})
	return w
}

func (c *normCase) wantApply(residual, relu bool) wanted {
	w := c.results([]string{"y"}, nil)
	c.element(func(i, _ int, v func(string) float64) {
		y := (v("x")-v("mean"))*v("gain") + v("shift")
		if residual {
			y += v("residual")
		}
		if relu && y <= 0 {
			y = 0
		}
		w["y"][i] = y
	})
	return w
}

func gradientOf(relu bool, v func(string) float64) float64 {
	if relu && !(v("y") > 0) {
		return 0
	}
	return v("dy")
}

func (c *normCase) wantGradSums(relu bool) wanted {
	w := c.results(nil, []string{"sum", "product"})
	c.element(func(_, ch int, v func(string) float64) {
		g := gradientOf(relu, v)
		w["sum"][ch] += g
		w["product"][ch] += g * (v("x") - v("mean"))
	})
	return w
}

func (c *normCase) wantGradApply(relu, keep bool) wanted {
	maps := []string{"dx"}
	if keep {
		maps = append(maps, "dresidual")
	}
	w := c.results(maps, nil)
	c.element(func(i, _ int, v func(string) float64) {
		g := gradientOf(relu, v)
		if keep {
			w["dresidual"][i] = g
		}
		w["dx"][i] = v("gain")*g - v("shift") - (v("x")-v("mean"))*v("slope")
	})
	return w
}

// compare checks the results, and that nothing else changed: before is what
// all memory held.
func (c *normCase) compare(w wanted, before map[string][]float32) error {
	for name, all := range c.memory() {
		for i, v := range all {
			if _, result := w[name]; result && !isGuard(before[name][i]) {
				continue
			}
			if math.Float32bits(v) != math.Float32bits(before[name][i]) {
				return fmt.Errorf("%s: element %d of %d changed from %g to %g", name, i, len(all), before[name][i], v)
			}
		}
	}
	for name, want := range w {
		for i, v := range want {
			if got := float64(c.result(name, i)); !near(got, v) {
				return fmt.Errorf("%s: element %d is %g, not %g", name, i, got, v)
			}
		}
	}
	return nil
}

func near(got, want float64) bool {
	if math.IsNaN(want) {
		return math.IsNaN(got)
	}
	return math.Abs(got-want) <= 1e-5*(1+math.Abs(want))
}

func (c *normCase) result(name string, i int) float32 {
	if m := c.maps[name]; m != nil {
		return *m.at(i/m.n, i%m.n)
	}
	return c.vecs[name][i]
}

// memory is all operands with what lies before them.
func (c *normCase) memory() map[string][]float32 {
	all := map[string][]float32{}
	for n, m := range c.maps {
		all[n] = m.all
	}
	for n, mem := range c.fence {
		all[n] = mem
	}
	return all
}

// normKernels pairs each kernel with its reference.
func normKernels(s *Set) map[string]struct {
	run  func(*byte)
	want func(*normCase) wanted
} {
	type pair = struct {
		run  func(*byte)
		want func(*normCase) wanted
	}
	apply := func(residual, relu bool) func(*normCase) wanted {
		return func(c *normCase) wanted { return c.wantApply(residual, relu) }
	}
	sums := func(relu bool) func(*normCase) wanted {
		return func(c *normCase) wanted { return c.wantGradSums(relu) }
	}
	grads := func(relu, keep bool) func(*normCase) wanted {
		return func(c *normCase) wanted { return c.wantGradApply(relu, keep) }
	}
	return map[string]pair{
		"sums":              {s.NormSums, (*normCase).wantSums},
		"apply":             {s.NormApply, apply(false, false)},
		"applyReLU":         {s.NormApplyReLU, apply(false, true)},
		"applyResidual":     {s.NormApplyResidual, apply(true, false)},
		"applyResidualReLU": {s.NormApplyResidualReLU, apply(true, true)},
		"gradSums":          {s.NormGradSums, sums(false)},
		"gradSumsReLU":      {s.NormGradSumsReLU, sums(true)},
		"gradApply":         {s.NormGradApply, grads(false, false)},
		"gradApplyReLU":     {s.NormGradApplyReLU, grads(true, false)},
		"gradApplyKeep":     {s.NormGradApplyKeep, grads(false, true)},
		"gradApplyReLUKeep": {s.NormGradApplyReLUKeep, grads(true, true)},
	}
}

// eachNormKernel runs a test of each kernel of each set.
func eachNormKernel(t *testing.T, do func(t *testing.T, c *normCase, check func() error)) {
	runNormKernels(t, func(string) bool { return true }, (*NormTile).Run, do)
}

// runNormKernels is eachNormKernel for some kernels and a way to run them.
func runNormKernels(t *testing.T, some func(name string) bool, run func(*NormTile, func(*byte), int), do func(t *testing.T, c *normCase, check func() error)) {
	for _, s := range Sets() {
		for name, k := range normKernels(s) {
			if !some(name) {
				continue
			}
			t.Run(s.Name+"/"+name, func(t *testing.T) {
				c := newNormCase(t)
				do(t, c, func() error {
					w := k.want(c)
					before := map[string][]float32{}
					for n, all := range c.memory() {
						before[n] = append([]float32(nil), all...)
					}
					run(&c.tile, k.run, s.Lanes)
					return c.compare(w, before)
				})
			})
		}
	}
}

func TestNormKernels(t *testing.T) {
	eachNormKernel(t, func(t *testing.T, c *normCase, check func() error) {
		for channels := 1; channels <= 70; channels++ {
			for _, pixels := range []int{1 + channels%7, 8 + channels%13} {
				rows := 1 + (channels+pixels)%3
				c.shape(rows, pixels, channels, channels%4)
				if err := check(); err != nil {
					t.Fatalf("%d rows of %d pixels of %d channels: %v", rows, pixels, channels, err)
				}
			}
		}
	})
}

// TestNormKernelsKeepNaN has a NaN in each operand in turn.
func TestNormKernelsKeepNaN(t *testing.T) {
	eachNormKernel(t, func(t *testing.T, c *normCase, check func() error) {
		for name := range c.maps {
			for _, at := range []int{0, 17, 36} {
				c.shape(1, 1, 37, 0)
				c.maps[name].mem[at] = float32(math.NaN())
				if err := check(); err != nil {
					t.Fatalf("NaN in %s: %v", name, err)
				}
			}
		}
	})
}

// TestNormKernelsInGroups takes several pixels as one, of windows and of dense
// maps.
func TestNormKernelsInGroups(t *testing.T) {
	for _, n := range []int{2, 3, 8} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			room := make([]float32, 4*n*70)
			grouped := func(tile *NormTile, kernel func(*byte), lanes int) {
				tile.Join()
				tile.RunGroups(kernel, lanes, n, room)
			}
			makesNoSums := func(name string) bool { return !strings.Contains(strings.ToLower(name), "sums") }
			runNormKernels(t, makesNoSums, grouped, func(t *testing.T, c *normCase, check func() error) {
				for channels := 1; channels <= 70; channels += 9 {
					for _, pixels := range []int{1, 7, 20} {
						rows := 1 + (channels+pixels)%3
						c.shape(rows, pixels, channels, channels%2)
						if err := check(); err != nil {
							t.Fatalf("%d rows of %d pixels of %d channels: %v", rows, pixels, channels, err)
						}
					}
				}
			})
		})
	}
}

// TestPixelGroup: a group fills whole vectors, and leaves most pixels to
// groups.
func TestPixelGroup(t *testing.T) {
	for _, lanes := range []int{8, 16} {
		for channels := 1; channels <= 300; channels++ {
			for _, pixels := range []int{1, 5, 64, 1000, 50176} {
				n := PixelGroup(lanes, channels, pixels)
				if n < 1 || n > 1 && (n*channels%lanes != 0 || 4*n > pixels || n*channels > 1024) {
					t.Errorf("%d lanes: %d pixels of %d, %d channels each", lanes, n, pixels, channels)
				}
			}
		}
		if n := PixelGroup(lanes, 16, 1024); n != 8*lanes/16 {
			t.Errorf("%d lanes: %d pixels of 16 channels", lanes, n)
		}
	}
}

// BenchmarkNorm reports the traffic of each kernel on a map of 64 KB an operand.
func BenchmarkNorm(b *testing.B) {
	for _, s := range Sets() {
		for _, channels := range []int{16, 64, 256} {
			for name, k := range normKernels(s) {
				b.Run(fmt.Sprintf("%s/%d/%s", s.Name, channels, name), func(b *testing.B) {
					benchNorm(b, s, k.run, 16384/channels, channels, normTraffic[name])
				})
			}
		}
	}
}

// normTraffic is how many operands of the map's size a kernel reads or writes.
var normTraffic = map[string]int{
	"sums": 1, "apply": 2, "applyReLU": 2, "applyResidual": 3, "applyResidualReLU": 3,
	"gradSums": 2, "gradSumsReLU": 3,
	"gradApply": 3, "gradApplyReLU": 4, "gradApplyKeep": 4, "gradApplyReLUKeep": 5,
}

func benchNorm(b *testing.B, s *Set, run func(*byte), pixels, channels, operands int) {
	t := &NormTile{Rows: 1, Pixels: pixels, Channels: channels}
	mem := make([]float32, 6*pixels*channels+6*channels)
	next := func(n int) unsafe.Pointer {
		p := unsafe.Pointer(&mem[0])
		mem = mem[n:]
		return p
	}
	for _, p := range []*unsafe.Pointer{&t.X, &t.Y, &t.Residual, &t.DY, &t.DX, &t.DResidual} {
		*p = next(pixels * channels)
	}
	for _, p := range []*unsafe.Pointer{&t.Mean, &t.Gain, &t.Shift, &t.Slope, &t.Sum} {
		*p = next(channels)
	}
	t.Product = unsafe.Pointer(&mem[0])
	best := time.Hour
	for b.Loop() {
		start := time.Now()
		t.Run(run, s.Lanes)
		best = min(best, time.Since(start))
	}
	b.ReportMetric(4*float64(operands*pixels*channels)/best.Seconds()/1e9, "GB/s")
}

// TestTotals sums all numbers of channels, in a window of a map too.
func TestTotals(t *testing.T) {
	for _, s := range Sets() {
		t.Run(s.Name, func(t *testing.T) {
			c := newNormCase(t)
			for channels := 1; channels <= 70; channels++ {
				c.shape(1+channels%3, 1+channels%7, channels, channels%4)
				want := make([]float64, channels)
				c.element(func(_, ch int, v func(string) float64) { want[ch] += v("x") })
				room := (channels + s.Lanes - 1) / s.Lanes * s.Lanes
				got := make([]float64, room+1)
				got[room] = 7
				c.tile.Sum = unsafe.Pointer(&got[0])
				c.tile.Run(s.NormTotals, s.Lanes)
				if !slices.Equal(got[:channels], want) || got[room] != 7 {
					t.Fatalf("%d channels: %v, not %v", channels, got, want)
				}
			}
		})
	}
}
