package vector

import (
	"fmt"
	"math"
	"testing"
	"unsafe"
)

// flatVectors are the operands of a FlatTile: A to D, each at a fence.
type flatVectors struct {
	all  [4][]float32
	v    [4][]float32
	tile FlatTile
}

func newFlatVectors(t *testing.T) *flatVectors {
	f := &flatVectors{}
	for i := range f.all {
		f.all[i] = fence(t, 128)
	}
	return f
}

// fill gives the operands n elements each, D of them positive.
func (f *flatVectors) fill(n int) {
	for i, all := range f.all {
		for k := range all {
			all[k] = math.Float32frombits(guardBits)
		}
		f.v[i] = all[len(all)-n:]
		for k := range f.v[i] {
			f.v[i][k] = float32((k+1)*(i+3)*7919%1013)/506 - 1
			if i == 3 {
				f.v[i][k] += 2
			}
		}
	}
	f.tile = FlatTile{N: n, Factor: [9]float32{0.1, 0.9, 0.7, 0.3, 0.8, 0.2, 0.5, 0.6, 0.01}}
	f.tile.A, f.tile.B = unsafe.Pointer(&f.v[0][0]), unsafe.Pointer(&f.v[1][0])
	f.tile.C, f.tile.D = unsafe.Pointer(&f.v[2][0]), unsafe.Pointer(&f.v[3][0])
}

// flatWant says what an element of A to D becomes.
type flatWant func(f [9]float64, v [4]float64) [4]float64

var flatWants = map[string]flatWant{
	"rectify": func(_ [9]float64, v [4]float64) [4]float64 {
		v[1] = v[0]
		if v[0] < 0 {
			v[1] = 0
		}
		return v
	},
	"keepPositive": func(_ [9]float64, v [4]float64) [4]float64 {
		v[2] = 0
		if v[1] > 0 {
			v[2] = v[0]
		}
		return v
	},
	"add":                 func(_ [9]float64, v [4]float64) [4]float64 { v[2] = v[0] + v[1]; return v },
	"addScaledDifference": func(f [9]float64, v [4]float64) [4]float64 { v[2] += f[0] * (v[0] - v[1]); return v },
	"step": func(f [9]float64, v [4]float64) [4]float64 {
		v[0] -= f[0] * f[2] * (v[1] + f[1]*v[0])
		v[1] = 0
		return v
	},
	"stepMomentum": func(f [9]float64, v [4]float64) [4]float64 {
		v[2] = f[3]*v[2] + f[2]*(v[1]+f[1]*v[0])
		v[0] -= f[0] * v[2]
		v[1] = 0
		return v
	},
	"stepNesterov": func(f [9]float64, v [4]float64) [4]float64 {
		d := f[2] * (v[1] + f[1]*v[0])
		v[2] = f[3]*v[2] + d
		v[0] -= f[0] * (d + f[3]*v[2])
		v[1] = 0
		return v
	},
	"stepAdam": func(f [9]float64, v [4]float64) [4]float64 {
		v[2] = f[2]*v[2] + f[3]*v[1]
		v[3] = f[4]*v[3] + f[5]*v[1]*v[1]
		v[0] = f[1]*v[0] - f[0]*(v[2]/f[6])/(math.Sqrt(v[3]/f[7])+f[8])
		v[1] = 0
		return v
	},
}

func flatKernels(s *Set) map[string]func(*byte) {
	return map[string]func(*byte){
		"rectify": s.Rectify, "keepPositive": s.KeepPositive, "add": s.Add, "addScaledDifference": s.AddScaledDifference,
		"step": s.Step, "stepMomentum": s.StepMomentum, "stepNesterov": s.StepNesterov, "stepAdam": s.StepAdam,
	}
}

// check runs a kernel and compares all elements, those around the operands
// too.
func (f *flatVectors) check(s *Set, kernel func(*byte), want flatWant) error {
	n := f.tile.N
	var factors [9]float64
	for i, v := range f.tile.Factor {
		factors[i] = float64(v)
	}
	wanted := make([][4]float64, n)
	for k := range wanted {
		for i := range f.v {
			wanted[k][i] = float64(f.v[i][k])
		}
		wanted[k] = want(factors, wanted[k])
	}
	f.tile.Run(kernel, s.Lanes)
	for i, all := range f.all {
		for k, v := range all[:len(all)-n] {
			if !isGuard(v) {
				return fmt.Errorf("operand %d: element %d before it became %g", i, len(all)-n-k, v)
			}
		}
		for k, v := range f.v[i] {
			if !near(float64(v), wanted[k][i]) {
				return fmt.Errorf("operand %d: element %d is %g, not %g", i, k, v, wanted[k][i])
			}
		}
	}
	return nil
}

func TestFlatKernels(t *testing.T) {
	for _, s := range Sets() {
		for name, kernel := range flatKernels(s) {
			t.Run(s.Name+"/"+name, func(t *testing.T) {
				f := newFlatVectors(t)
				for n := 1; n <= 70; n++ {
					f.fill(n)
					if err := f.check(s, kernel, flatWants[name]); err != nil {
						t.Fatalf("%d elements: %v", n, err)
					}
				}
			})
		}
	}
}

// TestFlatKernelsKeepNaN has a NaN in each operand in turn, in a whole vector
// and in a partial one.
func TestFlatKernelsKeepNaN(t *testing.T) {
	for _, s := range Sets() {
		for name, kernel := range flatKernels(s) {
			t.Run(s.Name+"/"+name, func(t *testing.T) {
				f := newFlatVectors(t)
				for i := range 4 {
					for _, at := range []int{3, 36} {
						f.fill(37)
						f.v[i][at] = float32(math.NaN())
						if err := f.check(s, kernel, flatWants[name]); err != nil {
							t.Fatalf("NaN in operand %d: %v", i, err)
						}
					}
				}
			})
		}
	}
}

func TestWideSums(t *testing.T) {
	for _, s := range Sets() {
		t.Run(s.Name, func(t *testing.T) {
			f := newFlatVectors(t)
			for n := 1; n <= 70; n++ {
				f.fill(n)
				squares, wide := 0.0, make([]float64, n+1)
				for i, v := range f.v[0] {
					squares += float64(v) * float64(v)
					wide[i] = float64(i) / 3
				}
				wide[n] = 7
				f.tile.Run(s.SumSquares, s.Lanes)
				if math.Abs(f.tile.Sum-squares) > 1e-12*squares {
					t.Errorf("squares of %d elements are %g, not %g", n, f.tile.Sum, squares)
				}
				f.tile.B = unsafe.Pointer(&wide[0])
				f.tile.Run(s.AddWide, s.Lanes)
				for i, v := range f.v[0] {
					if want := float64(i)/3 + float64(v); wide[i] != want {
						t.Errorf("element %d of %d is %g, not %g", i, n, wide[i], want)
					}
				}
				if wide[n] != 7 {
					t.Errorf("%d elements: one more was written", n)
				}
			}
		})
	}
}
