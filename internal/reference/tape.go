package reference

// Map is a tensor of four axes, row-major: pictures are [N,H,W,C],
// convolution weights [out, kernel height, kernel width, in/groups], dense
// weights [out,1,1,in], vectors [1,1,1,C].
type Map struct {
	N, H, W, C int
	V          []float64
}

// New is a Map of zeros.
func New(n, h, w, c int) Map { return Map{n, h, w, c, make([]float64, n*h*w*c)} }

// at is the index of an element.
func (m *Map) at(n, h, w, c int) int { return ((n*m.H+h)*m.W+w)*m.C + c }

// node is a Map on a tape, with the gradient of the tape's losses.
type node struct {
	Map
	grad []float64
	back func() // adds to the gradients of what it was made of; nil for a leaf
}

// tape lists nodes in the order in which they were made.
type tape struct{ nodes []*node }

func (t *tape) add(m Map) *node {
	n := &node{Map: m, grad: make([]float64, len(m.V))}
	t.nodes = append(t.nodes, n)
	return n
}

// leaf puts a constant or a weight on the tape. The leaf of a node's Map is
// that node detached: no gradient passes.
func (t *tape) leaf(m Map) *node { return t.add(m) }

// backward fills the gradients of all nodes with those of the sum of losses.
func (t *tape) backward(losses ...*node) {
	for _, l := range losses {
		l.grad[0]++
	}
	for i := len(t.nodes) - 1; i >= 0; i-- {
		if n := t.nodes[i]; n.back != nil {
			n.back()
		}
	}
}

// terms lists the terms of a linear map, y[to] += weight*x[from].
type terms func(term func(to, from int, weight float64))

// linear is y[to] = sum of weight*x[from] over the terms.
func (t *tape) linear(x *node, y Map, ts terms) *node {
	n := t.add(y)
	ts(func(to, from int, weight float64) { n.V[to] += weight * x.V[from] })
	n.back = func() {
		ts(func(to, from int, weight float64) { x.grad[from] += weight * n.grad[to] })
	}
	return n
}

// products lists the terms of a bilinear map, y[to] += a[left]*b[right].
type products func(product func(to, left, right int))

// bilinear is y[to] = sum of a[left]*b[right] over the products.
func (t *tape) bilinear(a, b *node, y Map, ps products) *node {
	n := t.add(y)
	ps(func(to, left, right int) { n.V[to] += a.V[left] * b.V[right] })
	n.back = func() {
		ps(func(to, left, right int) {
			a.grad[left] += n.grad[to] * b.V[right]
			b.grad[right] += n.grad[to] * a.V[left]
		})
	}
	return n
}

// sum is a+b, elementwise.
func (t *tape) sum(a, b *node) *node {
	n := t.add(New(a.N, a.H, a.W, a.C))
	for i := range n.V {
		n.V[i] = a.V[i] + b.V[i]
	}
	n.back = func() {
		for i, g := range n.grad {
			a.grad[i] += g
			b.grad[i] += g
		}
	}
	return n
}

// times is a*b, elementwise.
func (t *tape) times(a, b *node) *node {
	return t.bilinear(a, b, New(a.N, a.H, a.W, a.C), func(product func(to, left, right int)) {
		for i := range a.V {
			product(i, i, i)
		}
	})
}

// each is f of every element; slope is its derivative at x where f is y.
func (t *tape) each(x *node, f func(x float64) float64, slope func(x, y float64) float64) *node {
	n := t.add(New(x.N, x.H, x.W, x.C))
	for i, v := range x.V {
		n.V[i] = f(v)
	}
	n.back = func() {
		for i, g := range n.grad {
			x.grad[i] += g * slope(x.V[i], n.V[i])
		}
	}
	return n
}
