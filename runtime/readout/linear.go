package readout

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/rng"
)

// Linear fits softmax regression on the training rows and scores it on the test
// rows. Weights and biases start at zero; each epoch visits the rows in an order
// keyed by seed and epoch; the last batch of an epoch may be smaller, and its
// gradient is the mean over its own rows. The update is
//
//	v = momentum*v + gradient + decay*w      w = w - rate*v
//
// with rate = lr / 10^(number of drops at or before the epoch, from 0). Biases
// are not decayed. An error says which of settings or features is at fault; a
// fit whose numbers leave float32 is one.
func Linear(train, test Features, cfg model.LinearFit, o Options) (Result, error) {
	if err := check(train, test); err != nil {
		return Result{}, fmt.Errorf("linear readout: %w", err)
	}
	if err := checkFit(&cfg); err != nil {
		return Result{}, fmt.Errorf("linear readout: %w", err)
	}
	f := newFit(&train, cfg, o)
	if err := f.epochs(&train); err != nil {
		return Result{}, fmt.Errorf("linear readout: %w", err)
	}
	return f.result(&train, &test)
}

func checkFit(c *model.LinearFit) error {
	for _, p := range []struct {
		name  string
		value float64
	}{{"lr", c.LR}, {"momentum", c.Momentum}, {"weight_decay", c.WeightDecay}} {
		if !(p.value >= 0) || math.IsInf(p.value, 1) {
			return fmt.Errorf("%s is %v", p.name, p.value)
		}
	}
	switch {
	case c.Momentum >= 1:
		return fmt.Errorf("momentum is %v; it must stay below 1", c.Momentum)
	case c.Batch < 1:
		return fmt.Errorf("batch is %d", c.Batch)
	case c.Epochs < 0:
		return fmt.Errorf("epochs is %d", c.Epochs)
	}
	return nil
}

// protocol prints every setting of a fit.
func protocol(c *model.LinearFit, o *Options, train, test *Features) string {
	drop := "rate constant"
	if len(c.Drop) > 0 {
		drop = "rate/10 at epochs " + strings.Trim(strings.ReplaceAll(fmt.Sprint(c.Drop), " ", ", "), "[]")
	}
	return fmt.Sprintf("linear: softmax regression on %s; sgd lr %g, momentum %g, weight decay %g, batch %d, %d epochs, %s; from zero, seed %d",
		head(train, test, o.Standardise), c.LR, c.Momentum, c.WeightDecay, c.Batch, c.Epochs, drop, o.Seed)
}

// fit is the state of a linear fit. Matrices of classes have classRows rows,
// the last of them padding where the number of classes is odd; batch buffers
// have a whole number of row tiles.
type fit struct {
	cfg       model.LinearFit
	o         Options
	standard  *standard
	d         int
	classes   int
	classRows int
	batch     int

	weight, bias                 []float32 // classRows x d, classRows
	weightMotion, biasMotion     []float32 // v of the update
	weightGradient, biasGradient []float32

	x      []float32 // rows of the batch, standardised
	delta  []float32 // batch x classRows: logits, then the loss's gradient there
	labels []int
	losses []float64 // of each row
	ranks  []int     // of each row's own class, 0 the best
}

func newFit(train *Features, cfg model.LinearFit, o Options) *fit {
	f := &fit{cfg: cfg, o: o, d: train.D, classes: train.Classes, classRows: roundUp(train.Classes, classTile)}
	if o.Standardise {
		f.standard = standardOf(train)
	}
	f.batch = min(cfg.Batch, train.N)
	rows := roundUp(f.batch, rowTile)
	matrix := f.classRows * f.d
	f.weight, f.weightMotion, f.weightGradient = make([]float32, matrix), make([]float32, matrix), make([]float32, matrix)
	f.bias, f.biasMotion, f.biasGradient = make([]float32, f.classRows), make([]float32, f.classRows), make([]float32, f.classRows)
	f.x, f.delta = make([]float32, rows*f.d), make([]float32, rows*f.classRows)
	f.labels, f.losses, f.ranks = make([]int, rows), make([]float64, rows), make([]int, rows)
	return f
}

// epochs runs the whole fit.
func (f *fit) epochs(train *Features) error {
	stream := rng.New(f.o.Seed, "readout")
	seed := stream.Uint64()
	for e := range f.cfg.Epochs {
		if f.o.Redraw != nil && e > 0 {
			drawn, err := f.o.Redraw(e)
			if err != nil {
				return err
			}
			if drawn.N != train.N || drawn.D != train.D {
				return fmt.Errorf("features of epoch %d are %d x %d, not %d x %d", e, drawn.N, drawn.D, train.N, train.D)
			}
			train = &drawn
		}
		order := rng.Permutation(seed, uint64(e), train.N)
		rate := f.rate(e)
		for at := 0; at < train.N; at += f.batch {
			if f.o.stopped() {
				return ErrStopped
			}
			rows := order[at:min(at+f.batch, train.N)]
			if loss := f.step(train, rows, rate); loss-loss != 0 {
				return fmt.Errorf("the loss is %v in epoch %d, at rate %g: %w", loss, e+1, rate, errDiverged)
			}
		}
	}
	return nil
}

var errDiverged = errors.New("the fit diverges; a smaller lr or less weight_decay keeps it finite")

func (f *fit) rate(epoch int) float64 {
	rate := f.cfg.LR
	for _, d := range f.cfg.Drop {
		if d <= epoch {
			rate /= 10
		}
	}
	return rate
}

// step does one update and gives the batch's mean loss before it.
func (f *fit) step(train *Features, rows []int, rate float64) float64 {
	f.forward(train, rows)
	scale := 1 / float32(len(rows))
	tiles := (len(rows) + rowTile - 1) / rowTile
	parallel(f.o.workers(), tiles, func(t int) { f.softmax(t, len(rows), scale) })
	spans := (f.d + spanTile - 1) / spanTile
	parallel(f.o.workers(), spans*f.classRows/classTile, func(t int) { f.gradient(t/spans, t%spans, tiles) })
	f.biasGradients(tiles)
	f.update(float32(rate))
	return mean(f.losses[:len(rows)])
}

// forward gathers rows, standardises them and makes their logits in f.delta.
func (f *fit) forward(from *Features, rows []int) {
	tiles := (len(rows) + rowTile - 1) / rowTile
	parallel(f.o.workers(), tiles, func(t int) {
		for r := t * rowTile; r < (t+1)*rowTile; r++ {
			x := f.x[r*f.d : (r+1)*f.d]
			if r >= len(rows) {
				clear(x)
				continue
			}
			f.labels[r] = from.Labels[rows[r]]
			f.standard.apply(x, from.X[rows[r]*f.d:(rows[r]+1)*f.d])
		}
		f.logits(t)
	})
}

// logits makes those of one row tile.
func (f *fit) logits(t int) {
	x := f.x[t*rowTile*f.d:]
	to := f.delta[t*rowTile*f.classRows:]
	var out [rowTile * classTile]float32
	for c := 0; c < f.classRows; c += classTile {
		dots(&out, x, f.weight[c*f.d:], f.d)
		for r := range rowTile {
			to[r*f.classRows+c] = out[2*r] + f.bias[c]
			to[r*f.classRows+c+1] = out[2*r+1] + f.bias[c+1]
		}
	}
}

// softmax turns one tile's logits into the gradient of the mean loss there, and
// notes each row's loss. Rows past n, and the class that pads, get 0.
func (f *fit) softmax(t, n int, scale float32) {
	for r := t * rowTile; r < (t+1)*rowTile; r++ {
		z := f.delta[r*f.classRows : (r+1)*f.classRows]
		if r >= n {
			clear(z)
			continue
		}
		f.losses[r] = softmax(z[:f.classes], f.labels[r], scale)
		clear(z[f.classes:])
	}
}

// softmax gives -log softmax(z)[label] and replaces z by its gradient, times
// scale. The exponentials are float64.
func softmax(z []float32, label int, scale float32) float64 {
	top := float64(slices.Max(z))
	own := float64(z[label]) - top
	sum := 0.0
	for c, v := range z {
		e := math.Exp(float64(v) - top)
		z[c] = float32(e)
		sum += e
	}
	k := scale / float32(sum)
	for c := range z {
		z[c] *= k
	}
	z[label] -= scale
	return math.Log(sum) - own
}

// gradient makes the weight gradient of one pair of classes and one span of
// features, over all rows of the batch in order.
func (f *fit) gradient(pair, span, tiles int) {
	c, lo := pair*classTile, span*spanTile
	hi := min(lo+spanTile, f.d)
	g0, g1 := f.weightGradient[c*f.d+lo:c*f.d+hi], f.weightGradient[(c+1)*f.d+lo:(c+1)*f.d+hi]
	clear(g0)
	clear(g1)
	var k [rowTile * classTile]float32
	for t := range tiles {
		delta := f.delta[t*rowTile*f.classRows+c:]
		for r := range rowTile {
			k[2*r], k[2*r+1] = delta[r*f.classRows], delta[r*f.classRows+1]
		}
		outer(g0, g1, f.x[t*rowTile*f.d+lo:], f.d, &k)
	}
}

func (f *fit) biasGradients(tiles int) {
	clear(f.biasGradient)
	for r := range tiles * rowTile {
		for c, v := range f.delta[r*f.classRows : (r+1)*f.classRows] {
			f.biasGradient[c] += v
		}
	}
}

func (f *fit) update(rate float32) {
	m := float32(f.cfg.Momentum)
	descend(f.weight, f.weightMotion, f.weightGradient, rate, m, float32(f.cfg.WeightDecay))
	descend(f.bias, f.biasMotion, f.biasGradient, rate, m, 0)
}

func descend(w, v, g []float32, rate, momentum, decay float32) {
	v, g = v[:len(w)], g[:len(w)]
	for i := range w {
		v[i] = momentum*v[i] + (g[i] + decay*w[i])
		w[i] -= rate * v[i]
	}
}

func mean(list []float64) float64 {
	sum := 0.0
	for _, v := range list {
		sum += v
	}
	return sum / float64(len(list))
}

// score gives loss and shares of rows whose class is best and among the best
// five, with the weights as they are.
func (f *fit) score(on *Features) (loss, top1, top5 float64, err error) {
	rows := make([]int, 0, f.batch)
	for at := 0; at < on.N; at += f.batch {
		if f.o.stopped() {
			return 0, 0, 0, ErrStopped
		}
		rows = rows[:0]
		for r := at; r < min(at+f.batch, on.N); r++ {
			rows = append(rows, r)
		}
		f.forward(on, rows)
		parallel(f.o.workers(), (len(rows)+rowTile-1)/rowTile, func(t int) { f.rank(t, len(rows)) })
		for r := range rows {
			loss += f.losses[r]
			top1 += share(f.ranks[r] < 1)
			top5 += share(f.ranks[r] < 5)
		}
	}
	n := float64(on.N)
	return loss / n, top1 / n, top5 / n, nil
}

func share(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// rank notes, for the rows of one tile, the rank of the row's own class, and the
// row's loss.
func (f *fit) rank(t, n int) {
	for r := t * rowTile; r < min((t+1)*rowTile, n); r++ {
		z := f.delta[r*f.classRows:][:f.classes]
		f.ranks[r] = rankOf(z, f.labels[r])
		f.losses[r] = softmax(z, f.labels[r], 1)
	}
}

// rankOf counts the scores that stand before scores[c]: higher ones, and equal
// ones of lower index.
func rankOf[T float32 | float64](scores []T, c int) int {
	rank := 0
	for i, v := range scores {
		if v > scores[c] || v == scores[c] && i < c {
			rank++
		}
	}
	return rank
}

// result scores the fitted weights. A fit that ends above the loss it began
// with, log(classes), has been thrown about by its rate.
func (f *fit) result(train, test *Features) (Result, error) {
	r := Result{Kind: "linear", Train: train.N, Test: test.N, Protocol: protocol(&f.cfg, &f.o, train, test)}
	var err error
	if r.TrainLoss, r.TrainTop1, _, err = f.score(train); err != nil {
		return Result{}, fmt.Errorf("linear readout: %w", err)
	}
	var loss float64
	if loss, r.Top1, r.Top5, err = f.score(test); err != nil {
		return Result{}, fmt.Errorf("linear readout: %w", err)
	}
	if r.TrainLoss-r.TrainLoss != 0 || loss-loss != 0 {
		return Result{}, fmt.Errorf("linear readout: the final loss is %v on the training rows, %v on the test rows: %w", r.TrainLoss, loss, errDiverged)
	}
	if f.classes <= 5 {
		r.Top5 = 0
	}
	if start := math.Log(float64(f.classes)); r.TrainLoss > start {
		r.Warning = fmt.Sprintf("the fit ended at a training loss of %.3g, above the %.3g it began with: lr %g is too high for these features", r.TrainLoss, start, f.cfg.LR)
	}
	return r, nil
}
