package cpu

import "github.com/locorun/locorun/graphs/cpu/vector"

// flatFast runs a kernel over elements on blocks of the operands, which have
// one length. Blocks start at whole vectors of the operands.
func flatFast(r *run, kernel func(*byte), factors [9]float32, operands ...[]float32) error {
	n, lanes := len(operands[0]), r.lanes()
	return r.each(parts(n, segmentElements), func(tile int, ws *workspace) {
		from := tile * segmentElements
		t := &ws.flat
		*t = vector.FlatTile{N: min(segmentElements, n-from), Factor: factors}
		t.A = first(operands[0][from:])
		if len(operands) > 1 {
			t.B = first(operands[1][from:])
		}
		if len(operands) > 2 {
			t.C = first(operands[2][from:])
		}
		if len(operands) > 3 {
			t.D = first(operands[3][from:])
		}
		t.Run(kernel, lanes)
	})
}

// reluFast is the kernel of ReLU.
func reluFast(r *run) error {
	return flatFast(r, r.b.tier.set.Rectify, [9]float32{}, input[float32](r, 0), output[float32](r, 0))
}

// reluGradFast is the kernel of ReLUGrad.
func reluGradFast(r *run) error {
	return flatFast(r, r.b.tier.set.KeepPositive, [9]float32{}, input[float32](r, 0), input[float32](r, 1), output[float32](r, 0))
}

// addFast is the kernel of Add.
func addFast(r *run) error {
	return flatFast(r, r.b.tier.set.Add, [9]float32{}, input[float32](r, 0), input[float32](r, 1), output[float32](r, 0))
}

// pullFast is the kernel of Pull.
func pullFast(r *run) error {
	f := [9]float32{float32(2 * r.attr.Scale)}
	return flatFast(r, r.b.tier.set.AddScaledDifference, f, input[float32](r, 0), input[float32](r, 1), output[float32](r, 0))
}
