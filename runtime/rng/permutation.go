package rng

// Permutation is the order in which epoch number epoch visits n things: a
// permutation of 0..n-1, every one equally likely (Fisher-Yates, from the last
// place down, over the stream of purpose "permutation"). It is a function of
// its arguments alone.
//
// The whole order is made at once, 8 bytes a thing: a source's list of labels
// or files is as large, and a permutation computed place by place (a Feistel
// network over so few bits) would be far from equally likely.
func Permutation(seed, epoch uint64, n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	s := New(seed, "permutation", epoch)
	for i := n - 1; i > 0; i-- {
		j := s.Intn(i + 1)
		p[i], p[j] = p[j], p[i]
	}
	return p
}
