package vector

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// draws makes arguments.
type draws struct{ *rand.Rand }

func (r draws) floats(n int, lo, hi float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = lo + (hi-lo)*r.Float32()
	}
	return x
}

// some is floats with runs of the same, of 0 and of 1, as clamping leaves them.
func (r draws) some(n int) []float32 {
	x := r.floats(n, 0, 1)
	for i := range x {
		switch r.IntN(8) {
		case 0:
			x[i] = 0
		case 1:
			x[i] = 1
		case 2:
			x[i] = 0.5
		}
	}
	return x
}

func (r draws) mask() []int32 {
	m := make([]int32, Block)
	for i := range 1 + r.IntN(Block) {
		m[i] = -1
	}
	return m
}

// onAll runs a loop on every tier, each on its own copy of the memory it
// writes, and compares all of it, bit by bit.
func onAll(t *testing.T, name string, written []float32, run func(tier Tier, out []float32)) {
	t.Helper()
	var want []float32
	for _, tier := range Tiers() {
		out := slices.Clone(written)
		if run(tier, out); tier == Portable {
			want = out
			continue
		}
		for i := range out {
			if math.Float32bits(out[i]) != math.Float32bits(want[i]) {
				t.Fatalf("%s on %v: element %d is %v, want %v", name, tier, i, out[i], want[i])
			}
		}
	}
}

func each(t *testing.T, test func(t *testing.T, r draws)) {
	for seed := range uint64(60) {
		test(t, draws{rand.New(rand.NewPCG(seed, 9))})
	}
}

func TestTiers(t *testing.T) {
	tiers := Tiers()
	if tiers[0] != Portable || !slices.IsSorted(tiers) || Best() != tiers[len(tiers)-1] {
		t.Errorf("tiers %v, best %v", tiers, Best())
	}
	if Blocks(0) != 0 || Blocks(1) != 1 || Blocks(16) != 1 || Blocks(17) != 2 {
		t.Error("wrong number of blocks")
	}
}

func TestMask(t *testing.T) {
	for n := 1; n < 50; n++ {
		mask := Mask(n)
		for i, set := range mask {
			if len(mask) != Block || set != 0 != (i < n-(Blocks(n)-1)*Block) {
				t.Errorf("mask of %d elements: %v", n, mask)
				break
			}
		}
	}
}

func TestExpand(t *testing.T) {
	each(t, func(t *testing.T, r draws) {
		rows, blocks := 1+r.IntN(5), 1+r.IntN(4)
		row := 3*Block*blocks + r.IntN(5)
		src := make([]uint8, rows*row)
		for i := range src {
			src[i] = uint8(r.IntN(256))
		}
		a := Expand{Src: src, SrcRow: row, DstRow: Block*blocks + 3, DstPlane: rows * (Block*blocks + 3), Rows: rows, Blocks: blocks}
		out := make([]float32, 3*a.DstPlane)
		onAll(t, "one channel", out, func(tier Tier, out []float32) {
			a.Dst = out
			tier.Expand1(&a)
			if want := float32(src[row*(rows-1)+1]) / 255; math.Abs(float64(out[a.DstRow*(rows-1)+1]-want)) > 1e-7 {
				t.Errorf("%v, want %v", out[a.DstRow*(rows-1)+1], want)
			}
		})
		onAll(t, "three channels", out, func(tier Tier, out []float32) {
			a.Dst = out
			tier.Expand3(&a)
			if want := float32(src[7]) / 255; math.Abs(float64(out[a.DstPlane+2]-want)) > 1e-7 {
				t.Errorf("%v, want %v", out[a.DstPlane+2], want)
			}
		})
	})
}

// columns makes arguments whose indices stay within a reach of the bases.
func (r draws) columns(halves, whole int) *Columns {
	a := &Columns{Rows: 1 + r.IntN(5), Blocks: 1 + r.IntN(3), Taps: 1 + r.IntN(5), SrcRow: 200}
	a.DstRow = Block*a.Blocks + r.IntN(3)
	for range a.Blocks {
		base := r.IntN(60)
		low := [2]int{base, base + r.IntN(max(1, whole-halves))}
		a.Bases = append(a.Bases, int32(base), int32(low[0]), int32(low[1]), 0)
		var index, own []int32
		for j := range Block {
			i := r.IntN(halves)
			own = append(own, int32(i))
			index = append(index, int32(low[j/8]-base+i))
		}
		a.Index = append(append(a.Index, index...), own...)
	}
	a.Weights = r.floats(a.Blocks*a.Taps*Block, -1, 1)
	a.Src = r.floats(a.SrcRow*a.Rows+Room, 0, 1)
	return a
}

func TestColumns(t *testing.T) {
	each(t, func(t *testing.T, r draws) {
		for _, c := range []struct {
			name          string
			halves, whole int
			run           func(Tier, *Columns)
		}{
			{"near", 8, 16, Tier.ColumnsNear}, {"wide", 32, 32, Tier.ColumnsWide}, {"far", 60, 90, Tier.ColumnsFar},
		} {
			a := r.columns(c.halves, c.whole)
			onAll(t, c.name, make([]float32, a.Rows*a.DstRow), func(tier Tier, out []float32) {
				a.Dst = out
				c.run(tier, a)
				want := float64(0)
				for k := range a.Taps {
					want += float64(a.Weights[k*Block+3]) * float64(a.Src[int(a.Bases[0]+a.Index[3])+k])
				}
				if math.Abs(want-float64(out[3])) > 1e-5 {
					t.Errorf("%v, want %v", out[3], want)
				}
			})
		}
	})
}

func TestFilter(t *testing.T) {
	each(t, func(t *testing.T, r draws) {
		a := Filter{Rows: 1 + r.IntN(5), Blocks: 1 + r.IntN(3), Taps: 1 + r.IntN(5)}
		a.SrcRow, a.DstRow = Block*a.Blocks+r.IntN(3), Block*a.Blocks+r.IntN(3)
		a.Src, a.Weights = r.floats(a.SrcRow*12+Room, 0, 1), r.floats(a.Rows*a.Taps, -1, 1)
		for range a.Rows {
			a.First = append(a.First, int32(r.IntN(7)))
		}
		onAll(t, "filter", make([]float32, a.Rows*a.DstRow), func(tier Tier, out []float32) {
			a.Dst = out
			tier.Filter(&a)
			want := float64(0)
			for k := range a.Taps {
				want += float64(a.Weights[k]) * float64(a.Src[(int(a.First[0])+k)*a.SrcRow+5])
			}
			if math.Abs(want-float64(out[5])) > 1e-5 {
				t.Errorf("%v, want %v", out[5], want)
			}
		})
	})
}

func TestBlur(t *testing.T) {
	each(t, func(t *testing.T, r draws) {
		a := Blur{Rows: 1 + r.IntN(5), Blocks: 1 + r.IntN(3), Step: 1 + r.IntN(4), Start: 20}
		a.SrcRow, a.DstRow = Block*a.Blocks+50, Block*a.Blocks+r.IntN(3)
		a.Src, a.Kernel = r.floats(a.SrcRow*a.Rows+Room, 0, 1), r.floats(1+r.IntN(5), 0, 1)
		onAll(t, "blur", make([]float32, a.Rows*a.DstRow), func(tier Tier, out []float32) {
			a.Dst = out
			tier.Blur(&a)
			want := float64(a.Kernel[0]) * float64(a.Src[22])
			for k := 1; k < len(a.Kernel); k++ {
				want += float64(a.Kernel[k]) * (float64(a.Src[22-k*a.Step]) + float64(a.Src[22+k*a.Step]))
			}
			if math.Abs(want-float64(out[2])) > 1e-5 {
				t.Errorf("%v, want %v", out[2], want)
			}
		})
	})
}

func TestPoints(t *testing.T) {
	each(t, func(t *testing.T, r draws) {
		n := 1 + r.IntN(9)
		plane := n*Block + 5
		data := r.some(3 * plane)
		f, rest := 2*r.Float32(), r.Float32()-0.5
		onAll(t, "affine", data, func(tier Tier, out []float32) {
			tier.Affine(&Affine{Data: out, Blocks: n, F: f, Rest: rest})
		})
		for name, run := range map[string]func(Tier, *Colour){"saturate": Tier.Saturate, "hue": Tier.Hue, "luma": Tier.Luma} {
			onAll(t, name, data, func(tier Tier, out []float32) {
				turn := f
				if name == "hue" {
					turn = 6 * rest
				}
				run(tier, &Colour{Data: out, Plane: plane, Blocks: n, Dst: out[:n*Block], F: turn, Rest: rest})
			})
		}
	})
}

// Hues go round: one of a whole turn away, in six steps, is back again.
func TestHueGoesRound(t *testing.T) {
	r := draws{rand.New(rand.NewPCG(3, 9))}
	data := r.some(3 * 4 * Block)
	for _, tier := range Tiers() {
		out := slices.Clone(data)
		for range 6 {
			tier.Hue(&Colour{Data: out, Plane: 4 * Block, Blocks: 4, F: -1})
		}
		for i := range out {
			if math.Abs(float64(out[i]-data[i])) > 2e-6 {
				t.Fatalf("%v: element %d is %v, was %v", tier, i, out[i], data[i])
			}
		}
	}
}

func TestSum(t *testing.T) {
	each(t, func(t *testing.T, r draws) {
		a := Sum{Rows: 1 + r.IntN(9), Blocks: 1 + r.IntN(4), Mask: r.mask()}
		a.SrcRow = Block*a.Blocks + r.IntN(3)
		a.Src = r.some(a.SrcRow*a.Rows + Room)
		var want []float64
		for _, tier := range Tiers() {
			a.Out = make([]float64, Block)
			if tier.Sum(&a); tier == Portable {
				want = a.Out
			}
			if !slices.Equal(a.Out, want) {
				t.Fatalf("%v: %v, want %v", tier, a.Out, want)
			}
		}
		exact := 0.0
		for y := range a.Rows {
			for x := range a.Blocks * Block {
				if x < (a.Blocks-1)*Block || a.Mask[x%Block] != 0 {
					exact += float64(a.Src[y*a.SrcRow+x])
				}
			}
		}
		for _, v := range want {
			exact -= v
		}
		if math.Abs(exact) > 1e-5 {
			t.Errorf("sums are %v short", exact)
		}
	})
}

// What lies beyond a row's masked end stays as it was.
func TestWrite(t *testing.T) {
	each(t, func(t *testing.T, r draws) {
		a := Write{Rows: 1 + r.IntN(5), Blocks: 1 + r.IntN(3), Mask: r.mask()}
		for c := range 3 {
			a.Mean[c], a.Scale[c] = r.Float32(), 1+r.Float32()
		}
		a.SrcRow = Block*a.Blocks + r.IntN(3)
		a.SrcPlane = a.Rows * a.SrcRow
		a.Src = r.some(3*a.SrcPlane + Room)
		a.DstRow = Block*a.Blocks + 2
		onAll(t, "one channel", r.floats(a.Rows*a.DstRow, 5, 6), func(tier Tier, out []float32) {
			a.Dst = out
			tier.Write1(&a)
			if out[a.DstRow-1] < 5 || a.Mask[Block-1] == 0 && out[a.DstRow-3] < 5 {
				t.Error("wrote beyond the mask")
			}
		})
		a.DstRow = 3*Block*a.Blocks + 2
		onAll(t, "three channels", r.floats(a.Rows*a.DstRow, 5, 6), func(tier Tier, out []float32) {
			a.Dst = out
			tier.Write3(&a)
			if want := (a.Src[2*a.SrcPlane+5] - a.Mean[2]) * a.Scale[2]; out[17] != want || out[a.DstRow-1] < 5 {
				t.Errorf("%v, want %v", out[17], want)
			}
		})
	})
}
