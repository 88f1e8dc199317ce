package export

// OHWIToOIHW turns a convolution's weight from locorun's layout [out, kh, kw,
// in/groups] into the one that torch keeps, [out, in/groups, kh, kw]. in counts
// the channels of one group. A length that is not out*kh*kw*in panics.
func OHWIToOIHW(w []float32, out, kh, kw, in int) []float32 {
	return swap(w, out, kh*kw, in)
}

// OIHWToOHWI is the inverse of OHWIToOIHW.
func OIHWToOHWI(w []float32, out, in, kh, kw int) []float32 {
	return swap(w, out, in, kh*kw)
}

// NHWCToNCHW turns a batch of pictures from locorun's layout into torch's.
func NHWCToNCHW(x []float32, n, h, w, c int) []float32 { return swap(x, n, h*w, c) }

// swap transposes the n matrices of rows x cols that w holds.
func swap(w []float32, n, rows, cols int) []float32 {
	size := rows * cols
	if len(w) != n*size {
		panic("export: a layout that is not the tensor's")
	}
	t := make([]float32, len(w))
	for o := range n {
		from, to := w[o*size:(o+1)*size], t[o*size:(o+1)*size]
		for r := range rows {
			for c := range cols {
				to[c*rows+r] = from[r*cols+c]
			}
		}
	}
	return t
}
