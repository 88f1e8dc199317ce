package readout

import (
	"fmt"
	"math"

	"github.com/locorun/locorun/compiler/model"
)

// Sizes of the blocks of a search: a block of neighbours stays in cache while a
// block of queries goes by.
const (
	queryBlock     = 64
	neighbourBlock = 256
)

// KNN classifies each test row by its k nearest training rows: nearness is the
// cosine s, each neighbour votes for its class with weight exp(s/temperature).
// k is at most the number of training rows. Of equally near rows the lower one
// is nearer, of classes with equal votes the lower one wins; a class without a
// vote is never among the best five. A row of zeros has cosine 0 with all.
//
// The weighting is that of Wu et al., "Unsupervised Feature Learning via
// Non-Parametric Instance Discrimination", CVPR 2018, section 3.4.
func KNN(train, test Features, cfg model.KNN, o Options) (Result, error) {
	if err := check(train, test); err != nil {
		return Result{}, fmt.Errorf("knn readout: %w", err)
	}
	if cfg.K < 1 {
		return Result{}, fmt.Errorf("knn readout: k is %d", cfg.K)
	}
	if !(cfg.Temperature > 0) || math.IsInf(cfg.Temperature, 1) {
		return Result{}, fmt.Errorf("knn readout: temperature is %v", cfg.Temperature)
	}
	s := newSearch(&train, &test, cfg, o)
	parallel(o.workers(), (test.N+queryBlock-1)/queryBlock, s.block)
	if o.stopped() {
		return Result{}, fmt.Errorf("knn readout: %w", ErrStopped)
	}
	return s.result(), nil
}

// search is one run of KNN. Rows of both matrices have length 1 or 0 and are
// padded to whole tiles.
type search struct {
	train, test *Features
	cfg         model.KNN
	o           Options
	k           int
	near, query []float32
	ranks       []int // of each test row's own class, 0 the best
}

func newSearch(train, test *Features, cfg model.KNN, o Options) *search {
	var st *standard
	if o.Standardise {
		st = standardOf(train)
	}
	return &search{
		train: train, test: test, cfg: cfg, o: o, k: min(cfg.K, train.N),
		near:  unitRows(train, st, classTile, o.workers()),
		query: unitRows(test, st, rowTile, o.workers()),
		ranks: make([]int, test.N),
	}
}

// unitRows is f's rows, standardised and divided by their length, and rows of
// zeros up to a whole number of tiles.
func unitRows(f *Features, st *standard, tile, workers int) []float32 {
	x := make([]float32, roundUp(f.N, tile)*f.D)
	parallel(workers, f.N, func(i int) {
		row := x[i*f.D : (i+1)*f.D]
		st.apply(row, f.X[i*f.D:(i+1)*f.D])
		sum := 0.0
		for _, v := range row {
			sum += float64(v) * float64(v)
		}
		if sum == 0 {
			return
		}
		scale := 1 / math.Sqrt(sum)
		for j, v := range row {
			row[j] = float32(float64(v) * scale)
		}
	})
	return x
}

// block searches for one block of queries.
func (s *search) block(b int) {
	lo, hi := b*queryBlock, min((b+1)*queryBlock, s.test.N)
	lists := make([]nearest, roundUp(hi-lo, rowTile))
	for i := range lists {
		lists[i] = make(nearest, 0, s.k)
	}
	for n := 0; n < s.train.N && !s.o.stopped(); n += neighbourBlock {
		for q := lo; q < hi; q += rowTile {
			s.tile(lists[q-lo:][:rowTile], q, n)
		}
	}
	for q := lo; q < hi; q++ {
		s.ranks[q] = s.vote(lists[q-lo], s.test.Labels[q])
	}
}

// tile offers the block of neighbours from n on to the four queries from q on.
func (s *search) tile(lists []nearest, q, n int) {
	d := s.train.D
	var out [rowTile * classTile]float32
	for i := n; i < min(n+neighbourBlock, s.train.N); i += classTile {
		dots(&out, s.query[q*d:], s.near[i*d:], d)
		for r := range lists {
			lists[r].offer(neighbour{out[2*r], i}, s.k)
			if i+1 < s.train.N {
				lists[r].offer(neighbour{out[2*r+1], i + 1}, s.k)
			}
		}
	}
}

// neighbour is a training row and its cosine with a query.
type neighbour struct {
	cosine float32
	row    int
}

// nearer is a total order: rows differ.
func (a neighbour) nearer(b neighbour) bool {
	return a.cosine > b.cosine || a.cosine == b.cosine && a.row < b.row
}

// nearest is a heap of the nearest rows so far, the farthest of them first.
type nearest []neighbour

// offer keeps v if it is among the k nearest so far.
func (h *nearest) offer(v neighbour, k int) {
	list := *h
	if len(list) < k {
		*h = append(list, v)
		h.up(len(list))
		return
	}
	if !v.nearer(list[0]) {
		return
	}
	list[0] = v
	list.down()
}

func (h nearest) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h[parent].nearer(h[i]) {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

func (h nearest) down() {
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child].nearer(h[child+1]) {
			child++
		}
		if !h[i].nearer(h[child]) {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// vote gives the rank of class own. Weights are taken relative to the nearest
// row's, so that no temperature overflows; votes are summed in the heap's order,
// which the offers, made in the order of rows, fix.
func (s *search) vote(list nearest, own int) int {
	top := float32(-1)
	for _, n := range list {
		top = max(top, n.cosine)
	}
	votes := make([]float64, s.train.Classes)
	for _, n := range list {
		votes[s.train.Labels[n.row]] += math.Exp(float64(n.cosine-top) / s.cfg.Temperature)
	}
	if votes[own] == 0 {
		return s.train.Classes
	}
	return rankOf(votes, own)
}

func (s *search) result() Result {
	r := Result{Kind: "knn", Train: s.train.N, Test: s.test.N}
	for _, rank := range s.ranks {
		r.Top1 += share(rank < 1)
		r.Top5 += share(rank < 5)
	}
	r.Top1 /= float64(s.test.N)
	r.Top5 /= float64(s.test.N)
	if s.train.Classes <= 5 {
		r.Top5 = 0
	}
	k := fmt.Sprintf("k %d", s.k)
	if s.k < s.cfg.K {
		k = fmt.Sprintf("k %d (all there are, of %d asked for)", s.k, s.cfg.K)
	}
	r.Protocol = fmt.Sprintf("knn: cosine on %s; %s, votes weighted by exp(cosine/%g)",
		head(s.train, s.test, s.o.Standardise), k, s.cfg.Temperature)
	return r
}
