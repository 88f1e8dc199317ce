package op

import (
	"errors"
	"fmt"
	"slices"
)

// ConvOut is the size of a convolution's or pool's output along one side of
// length n: floor((n+2*pad-k)/stride)+1. It is below 1 where the window does
// not fit.
func ConvOut(n, k, stride, pad int) int {
	if n+2*pad < k {
		return 0
	}
	return (n+2*pad-k)/stride + 1
}

func product(d []int) int64 {
	n := int64(1)
	for _, x := range d {
		n *= int64(x)
	}
	return n
}

func rank(s []int, n int, what string) error {
	if len(s) != n {
		return fmt.Errorf("%s has %d dimensions, not %d", what, len(s), n)
	}
	return nil
}

func same(i int) func(Attr, [][]int) ([][]int, error) {
	return func(_ Attr, in [][]int) ([][]int, error) { return [][]int{in[i]}, nil }
}

func sameBoth(_ Attr, in [][]int) ([][]int, error) {
	if !slices.Equal(in[0], in[1]) {
		return nil, fmt.Errorf("shapes %v and %v differ", in[0], in[1])
	}
	return [][]int{in[0]}, nil
}

func convShape(a Attr, in [][]int) ([][]int, error) {
	x, w := in[0], in[1]
	if err := rank(x, 4, "input"); err != nil {
		return nil, err
	}
	g := max(a.Groups, 1)
	if len(w) != 4 || w[1] != a.KH || w[2] != a.KW || x[3]%g != 0 || w[0]%g != 0 || w[3] != x[3]/g {
		return nil, fmt.Errorf("weights %v do not fit input %v, window %dx%d, %d groups", w, x, a.KH, a.KW, g)
	}
	h, v := ConvOut(x[1], a.KH, a.Stride, a.Pad), ConvOut(x[2], a.KW, a.Stride, a.Pad)
	if h < 1 || v < 1 {
		return nil, fmt.Errorf("window %dx%d does not fit a map of %dx%d with padding %d", a.KH, a.KW, x[1], x[2], a.Pad)
	}
	return [][]int{{x[0], h, v, w[0]}}, nil
}

// savedShape is the shape of a norm's saved statistics.
func savedShape(a Attr, x []int) []int {
	if a.Groups > 0 {
		return []int{x[0], a.Groups}
	}
	return []int{x[3]}
}

func normShape(a Attr, in [][]int) ([][]int, error) {
	x := in[0]
	if err := rank(x, 4, "input"); err != nil {
		return nil, err
	}
	if a.Groups > 0 && x[3]%a.Groups != 0 {
		return nil, fmt.Errorf("%d channels do not split into %d groups", x[3], a.Groups)
	}
	if len(in) > 5 && in[5] != nil && !slices.Equal(in[5], x) {
		return nil, fmt.Errorf("residual %v does not fit %v", in[5], x)
	}
	return [][]int{x, savedShape(a, x), savedShape(a, x)}, nil
}

func convNormShape(a Attr, in [][]int) ([][]int, error) {
	z, err := convShape(a.conv(), in[:2])
	if err == nil {
		err = onReadShape(a, in[0], in[min(7, len(in)):])
	}
	if err != nil {
		return nil, err
	}
	n, err := normShape(a.norm(), [][]int{z[0], in[2], in[3], in[4], in[5], in[6]})
	if err != nil {
		return nil, err
	}
	return append(z, n...), nil
}

// onReadShape checks the norm that x is read through: its scale, shift, mean
// and invstd, or nothing where x is read as it lies.
func onReadShape(a Attr, x []int, norm [][]int) error {
	there := slices.ContainsFunc(norm, func(s []int) bool { return s != nil })
	switch {
	case !there && (a.InReLU || a.InGroups != 0):
		return errors.New("settings of a norm applied on read, without its arguments")
	case !there:
		return nil
	case a.InGroups < 0 || a.InGroups > 0 && x[3]%a.InGroups != 0:
		return fmt.Errorf("%d channels read do not split into %d groups", x[3], a.InGroups)
	}
	a.Groups = a.InGroups
	for i, name := range []string{"in_scale", "in_shift", "in_mean", "in_invstd"} {
		want := []int{x[3]}
		if i > 1 {
			want = savedShape(a, x)
		}
		switch {
		case i >= len(norm) || norm[i] == nil:
			return fmt.Errorf("%s is missing where a norm is applied on read", name)
		case !slices.Equal(norm[i], want):
			return fmt.Errorf("%s has shape %v, not %v", name, norm[i], want)
		}
	}
	return nil
}

// conv is the convolution's part of a fused op's settings. ConvNorm keeps the
// convolution's groups in Groups and the norm's in NormGroups.
func (a Attr) conv() Attr { return a }

// norm is the norm's part of a fused op's settings.
func (a Attr) norm() Attr { a.Groups = a.NormGroups; return a }

func poolShape(a Attr, in [][]int) ([][]int, error) {
	x := in[0]
	h, w := ConvOut(x[1], a.KH, a.Stride, a.Pad), ConvOut(x[2], a.KW, a.Stride, a.Pad)
	if h < 1 || w < 1 {
		return nil, fmt.Errorf("window %dx%d does not fit a map of %dx%d with padding %d", a.KH, a.KW, x[1], x[2], a.Pad)
	}
	return [][]int{{x[0], h, w, x[3]}}, nil
}

func poolMaxShape(a Attr, in [][]int) ([][]int, error) {
	s, err := poolShape(a, in)
	if err != nil {
		return nil, err
	}
	return append(s, s[0]), nil
}

func meanShape(_ Attr, in [][]int) ([][]int, error) {
	return [][]int{{in[0][0], 1, 1, in[0][3]}}, nil
}

func denseShape(_ Attr, in [][]int) ([][]int, error) {
	x, w := in[0], in[1]
	if len(x) != 4 || x[1] != 1 || x[2] != 1 || len(w) != 2 || w[1] != x[3] {
		return nil, fmt.Errorf("weights %v do not fit input %v", w, x)
	}
	return [][]int{{x[0], 1, 1, w[0]}}, nil
}

func resizeShape(a Attr, in [][]int) ([][]int, error) {
	return [][]int{{in[0][0], a.H, a.W, in[0][3]}}, nil
}

func concatShape(_ Attr, in [][]int) ([][]int, error) {
	y := slices.Clone(in[0])
	for _, x := range in[1:] {
		if !slices.Equal(x[:3], y[:3]) {
			return nil, fmt.Errorf("maps %v and %v differ in more than channels", in[0], x)
		}
		y[3] += x[3]
	}
	return [][]int{y}, nil
}

func ntxentShape(_ Attr, in [][]int) ([][]int, error) {
	if in[0][0]%2 != 0 {
		return nil, fmt.Errorf("%d rows are not pairs of views", in[0][0])
	}
	return [][]int{{1}, in[0]}, nil
}

func convInputShape(a Attr, in [][]int) ([][]int, error) {
	dy, w := in[0], in[1]
	return [][]int{{dy[0], a.H, a.W, w[3] * max(a.Groups, 1)}}, nil
}

func convWeightShape(a Attr, in [][]int) ([][]int, error) {
	x, dy := in[0], in[1]
	return [][]int{{dy[3], a.KH, a.KW, x[3] / max(a.Groups, 1)}, {dy[3]}}, nil
}

func normGradShape(a Attr, in [][]int) ([][]int, error) {
	if !slices.Equal(in[0], in[1]) {
		return nil, fmt.Errorf("gradient %v does not fit input %v", in[0], in[1])
	}
	c := []int{in[0][3]}
	return [][]int{in[0], in[0], c, c}, nil
}

func convNormGradShape(a Attr, in [][]int) ([][]int, error) {
	dy, z, x, w, more := in[0], in[1], in[6], in[7], in[8]
	want, err := convShape(a.conv(), [][]int{x, w})
	if err == nil {
		err = onReadShape(a, x, in[min(10, len(in)):])
	}
	switch {
	case err != nil:
		return nil, err
	case !slices.Equal(z, want[0]):
		return nil, fmt.Errorf("map %v is not the convolution's %v", z, want[0])
	case x[1] != a.H || x[2] != a.W:
		return nil, fmt.Errorf("input %v is not a map of %dx%d", x, a.H, a.W)
	case more != nil && !slices.Equal(more, x):
		return nil, fmt.Errorf("gradient %v does not fit input %v", more, x)
	}
	n, err := normGradShape(a.norm(), [][]int{dy, z})
	if err != nil {
		return nil, err
	}
	return [][]int{x, n[1], n[2], n[3], w}, nil
}

func gradMapShape(a Attr, in [][]int) ([][]int, error) {
	return [][]int{{in[0][0], a.H, a.W, in[0][3]}}, nil
}

func denseInputShape(_ Attr, in [][]int) ([][]int, error) {
	return [][]int{{in[0][0], 1, 1, in[1][1]}}, nil
}

func denseWeightShape(_ Attr, in [][]int) ([][]int, error) {
	return [][]int{{in[1][3], in[0][3]}, {in[1][3]}}, nil
}

// updateShape: the results are the arguments.
func updateShape(_ Attr, in [][]int) ([][]int, error) { return in, nil }

// convMACs: every output element takes one per weight of its filter, taps on
// the padding counted, as papers count them.
func convMACs(_ Attr, in, out [][]int) int64 {
	return product(out[0]) * product(in[1][1:])
}

func convInputMACs(_ Attr, in, _ [][]int) int64 {
	return product(in[0]) * product(in[1][1:])
}

func convWeightMACs(_ Attr, in, out [][]int) int64 {
	return product(in[1]) * product(out[0][1:])
}

// convNormGradMACs: the input gradient and the weight gradient, where each is
// made.
func convNormGradMACs(_ Attr, in, out [][]int) int64 {
	one, n := product(in[1])*product(in[7][1:]), int64(0)
	for _, made := range [][]int{out[0], out[4]} {
		if made != nil {
			n += one
		}
	}
	return n
}

func denseMACs(_ Attr, in, _ [][]int) int64 {
	return int64(in[0][0]) * product(in[1])
}

func denseInputMACs(_ Attr, in, _ [][]int) int64 {
	return int64(in[0][0]) * product(in[1])
}

func denseWeightMACs(_ Attr, in, out [][]int) int64 {
	return int64(in[0][0]) * product(out[0])
}
