package cpu

import (
	"math"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// loss runs NTXent on embeddings e(i) and returns loss and gradient.
func loss(t *testing.T, b *Backend, temperature float64, rows, dim int, e func(i int) float64) (float64, []float64) {
	t.Helper()
	in, out, de := filled(t, b, e, rows, 1, 1, dim), filled(t, b, zero, 1), filled(t, b, zero, rows, 1, 1, dim)
	must(t, b, &device.Call{
		Code: op.NTXent, Attr: op.Attr{Temperature: temperature, Scale: 1},
		In: []device.Tensor{in}, Out: []device.Tensor{out, de},
	})
	return numbers(t, b, out)[0], numbers(t, b, de)
}

func largest(v []float64) float64 {
	m := 0.0
	for _, x := range v {
		if m = max(m, math.Abs(x)); x != x {
			return x
		}
	}
	return m
}

// TestNTXentByHand: losses that can be told without computing.
func TestNTXentByHand(t *testing.T) {
	b := started(t, 2)
	const rows, dim = 200, 16
	tests := []struct {
		name        string
		temperature float64
		e           func(i int) float64
		want, most  float64 // the loss, and the largest gradient
	}{
		{"identical", 1e-3, func(i int) float64 { return wave(i % dim) }, math.Log(rows - 1), 1e-7},
		{"identical, logits 1e4", 1e-4, func(i int) float64 { return wave(i % dim) }, math.Log(rows - 1), 1e-6},
		{"huge embeddings", 1, func(i int) float64 { return 1e30 * wave(i%dim) }, math.Log(rows - 1), 1e-30},
		{"tiny embeddings", 1, func(i int) float64 { return 1e-10 * wave(i%dim) }, math.Log(rows - 1), 1e-4},
		{"all zero", 0.5, zero, math.Log(rows - 1), 0},
		{"perfect pairs", 1e-4, func(i int) float64 { // pairs agree, others point elsewhere
			k := i/dim/2*dim + i%dim
			return wave(k * k)
		}, 0, 1e-6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, de := loss(t, b, tt.temperature, rows, dim, tt.e)
			if math.Abs(got-tt.want) > 1e-5 {
				t.Errorf("loss %g, not %g", got, tt.want)
			}
			if m := largest(de); !(m <= tt.most) {
				t.Errorf("gradient of %g, at most %g expected", m, tt.most)
			}
		})
	}
}

func TestNTXentShowsNaN(t *testing.T) {
	b := started(t, 2)
	got, _ := loss(t, b, 0.5, 8, 4, func(i int) float64 {
		if i == 5 {
			return math.NaN()
		}
		return wave(i)
	})
	if got == got {
		t.Errorf("loss %g of embeddings with a NaN", got)
	}
}

// TestNTXentKeepsNoMatrix: scratch grows with the rows, not with their square.
func TestNTXentKeepsNoMatrix(t *testing.T) {
	b := started(t, 1)
	const rows = 2048
	loss(t, b, 0.5, rows, 4, wave)
	if s := b.Scratch(); s > rows*rows/4 {
		t.Errorf("%d bytes of scratch for %d rows", s, rows)
	}
}

func TestNaNIsNotRectified(t *testing.T) {
	b := started(t, 1)
	nan := func(i int) float64 { return [...]float64{math.NaN(), -1, 0, 2}[i] }
	x, y := filled(t, b, nan, 1, 2, 2, 1), filled(t, b, zero, 1, 2, 2, 1)
	must(t, b, &device.Call{Code: op.ReLU, In: []device.Tensor{x}, Out: []device.Tensor{y}})
	if got := numbers(t, b, y); got[0] == got[0] || got[1] != 0 || got[2] != 0 || got[3] != 2 {
		t.Errorf("relu gives %v", got)
	}
	top, index := filled(t, b, zero, 1, 1, 1, 1), filled(t, b, zero, 1, 1, 1, 1)
	index.Dtype = op.I32
	must(t, b, &device.Call{Code: op.PoolMax, Attr: op.Attr{KH: 2, KW: 2, Stride: 2}, In: []device.Tensor{x}, Out: []device.Tensor{top, index}})
	if got := numbers(t, b, top); got[0] == got[0] {
		t.Errorf("pool gives %v", got)
	}
}
