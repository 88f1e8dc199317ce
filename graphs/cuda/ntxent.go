package cuda

import (
	"fmt"

	"github.com/locorun/locorun/graphs/cuda/driver"
)

const (
	ntxentTile = 64 // NTXENT_TILE of ntxent.cu
	// mostSplits bounds the partial gradients that are held.
	mostSplits = 8
)

// ntxentTask is an NTXent under way: the numbers that its kernels hand on.
type ntxentTask struct {
	r                     *run
	rows, d, splits       int
	e, de, lossAt         driver.Pointer
	z, dz                 driver.Pointer // [rows,d]; [splits,rows,d]
	norm, logsum, loss    driver.Pointer // of each row
	totals                driver.Pointer // [splits,rows,2]
	temperature, lossUnit float64
}

// ntxent is the launches of NTXent.
func ntxent(r *run) error {
	t := &ntxentTask{
		r: r, rows: r.in[0][0], d: r.n(0) / r.in[0][0], temperature: r.attr.Temperature, lossUnit: r.attr.Scale,
		e: r.inAt[0], lossAt: r.outAt[0], de: r.outAt[1],
	}
	if t.rows > 1<<24 {
		return fmt.Errorf("%d rows are more than can be compared", t.rows)
	}
	t.splits = ntxentSplits(t.rows)
	if err := t.place(); err != nil {
		return err
	}
	return t.launch()
}

// ntxentSplits is how many blocks share the columns of a tile's rows.
func ntxentSplits(rows int) int {
	tiles := parts(rows, ntxentTile)
	return max(min(parts(wantBlocks/2, tiles), mostSplits, tiles), 1)
}

// place finds scratch memory, all of it float64.
func (t *ntxentTask) place() error {
	n := t.rows * t.d
	maps, err := t.r.scratch(slotA, 8*n*(1+t.splits))
	if err != nil {
		return err
	}
	numbers, err := t.r.scratch(slotB, 8*t.rows*(3+2*t.splits))
	if err != nil {
		return err
	}
	row := driver.Pointer(8 * t.rows)
	t.z, t.dz = maps, maps+driver.Pointer(8*n)
	t.norm, t.logsum, t.loss, t.totals = numbers, numbers+row, numbers+2*row, numbers+3*row
	return nil
}

func (t *ntxentTask) launch() error {
	rows, d, splits, temperature := i32(t.rows), i32(t.d), i32(t.splits), f64(t.temperature)
	z, norm, logsum, loss := uint64(t.z), uint64(t.norm), uint64(t.logsum), uint64(t.loss)
	totals, dz := uint64(t.totals), uint64(t.dz)
	squares := parts(t.rows, ntxentTile) * t.splits
	factor := t.lossUnit / (float64(t.rows) * t.temperature)
	for _, do := range []func() error{
		func() error { return t.r.line("ntxent_normalise", t.rows, uint64(t.e), z, norm, d) },
		func() error { return t.r.line("ntxent_sums", squares, z, totals, loss, rows, d, splits, temperature) },
		func() error { return t.r.each("ntxent_join", t.rows, totals, loss, logsum, rows, splits) },
		func() error { return t.r.line("ntxent_loss", 1, loss, uint64(t.lossAt), rows, f64(t.lossUnit)) },
		func() error { return t.r.line("ntxent_gradient", squares, z, logsum, dz, rows, d, splits, temperature) },
		func() error {
			return t.r.line("ntxent_through", t.rows, z, norm, dz, uint64(t.de), rows, d, splits, f64(factor))
		},
	} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}
