package cpu

// matrix is a window of rows elements wide into mem: row i starts at i*stride.
type matrix[T float] struct {
	mem    []T
	stride int
}

func (m matrix[T]) row(i, n int) []T { return m.mem[i*m.stride:][:n] }

// put stores v at row i, column j, or adds it to what is there.
func (m matrix[T]) put(i, j int, v T, add bool) {
	at := i*m.stride + j
	if add {
		v += m.mem[at]
	}
	m.mem[at] = v
}

// multiply computes y[i][j] (+)= sum over t < depth of a[i][t]*b[j][t] for
// i < rows, j < cols: both factors are read along contiguous rows. Each sum
// runs over t in order, in one accumulator, whatever the block it falls into.
//
// Blocks of 2 rows by 4 columns keep 8 accumulators in registers; b's four
// rows stay in the nearest cache while all of a passes by.
func multiply[T float](a, b, y matrix[T], rows, cols, depth int, add bool) {
	j := 0
	for ; j+4 <= cols; j += 4 {
		b0, b1, b2, b3 := b.row(j, depth), b.row(j+1, depth), b.row(j+2, depth), b.row(j+3, depth)
		i := 0
		for ; i+2 <= rows; i += 2 {
			y0, y1 := y.mem[i*y.stride+j:], y.mem[(i+1)*y.stride+j:]
			block2x4(y0, y1, a.row(i, depth), a.row(i+1, depth), b0, b1, b2, b3, add)
		}
		if i < rows {
			s0, s1, s2, s3 := dot1x4(a.row(i, depth), b0, b1, b2, b3)
			put4(y.mem[i*y.stride+j:], s0, s1, s2, s3, add)
		}
	}
	for ; j < cols; j++ {
		bj := b.row(j, depth)
		i := 0
		for ; i+4 <= rows; i += 4 {
			s0, s1, s2, s3 := dot1x4(bj, a.row(i, depth), a.row(i+1, depth), a.row(i+2, depth), a.row(i+3, depth))
			y.put(i, j, s0, add)
			y.put(i+1, j, s1, add)
			y.put(i+2, j, s2, add)
			y.put(i+3, j, s3, add)
		}
		for ; i < rows; i++ {
			y.put(i, j, dot(a.row(i, depth), bj), add)
		}
	}
}

// put4 stores four sums, or adds them to what is there.
func put4[T float](y []T, s0, s1, s2, s3 T, add bool) {
	y = y[:4]
	if add {
		s0, s1, s2, s3 = s0+y[0], s1+y[1], s2+y[2], s3+y[3]
	}
	y[0], y[1], y[2], y[3] = s0, s1, s2, s3
}

// block2x4 makes the sums of two rows of a with four of b.
func block2x4[T float](y0, y1, a0, a1, b0, b1, b2, b3 []T, add bool) {
	n := len(a0)
	a1, b0, b1, b2, b3 = a1[:n], b0[:n], b1[:n], b2[:n], b3[:n]
	var s00, s01, s02, s03, s10, s11, s12, s13 T
	for t, p := range a0 {
		q := a1[t]
		w := b0[t]
		s00 += p * w
		s10 += q * w
		w = b1[t]
		s01 += p * w
		s11 += q * w
		w = b2[t]
		s02 += p * w
		s12 += q * w
		w = b3[t]
		s03 += p * w
		s13 += q * w
	}
	put4(y0, s00, s01, s02, s03, add)
	put4(y1, s10, s11, s12, s13, add)
}

func dot1x4[T float](a, b0, b1, b2, b3 []T) (s0, s1, s2, s3 T) {
	n := len(a)
	b0, b1, b2, b3 = b0[:n], b1[:n], b2[:n], b3[:n]
	for t, p := range a {
		s0 += p * b0[t]
		s1 += p * b1[t]
		s2 += p * b2[t]
		s3 += p * b3[t]
	}
	return s0, s1, s2, s3
}

func dot[T float](a, b []T) T {
	b = b[:len(a)]
	var s T
	for t, p := range a {
		s += p * b[t]
	}
	return s
}

// addTo adds x to y, element by element.
func addTo[T float](y, x []T) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] += v
	}
}

// addProduct adds x*w to y, element by element.
func addProduct[T float](y, x, w []T) {
	y, w = y[:len(x)], w[:len(x)]
	for i, v := range x {
		y[i] += v * w[i]
	}
}
