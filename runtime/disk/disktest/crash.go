package disktest

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Crash is a tree that may be found after the power failed now. What was synced
// is there, whole. Of each unsynced write to a file and each unsynced operation
// on the names of a directory a share survives, each drawn from rng: none for 0,
// all for 1. Between, a write that does not survive may leave its beginning, or
// zeros in its place. Of the names of a directory the operations that survive
// are the earliest, unless m.AnyOrder. All of the new tree is durable; m goes on.
func (m *Memory) Crash(share float64, rng *rand.Rand) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &crash{share: share, rng: rng, anyOrder: m.AnyOrder, files: map[*file]*file{}}
	return &Memory{AnyOrder: m.AnyOrder, root: c.dir(m.root)}
}

// crash is one power cut.
type crash struct {
	share    float64
	rng      *rand.Rand
	anyOrder bool
	files    map[*file]*file // a file of two names stays one
}

func (c *crash) survives() bool { return c.rng.Float64() < c.share }

// dir is what is left of a directory.
func (c *crash) dir(d *dir) *dir {
	names := maps.Clone(d.durable)
	for _, op := range c.names(d.log) {
		op.on(names)
	}
	left := newDir()
	for _, n := range slices.Sorted(maps.Keys(names)) {
		switch e := names[n].(type) {
		case *dir:
			left.now[n] = c.dir(e)
		case *file:
			left.now[n] = c.file(e)
		}
	}
	left.sync()
	return left
}

// names chooses the operations that survive: any, or as many of the earliest.
func (c *crash) names(log []nameOp) (kept []nameOp) {
	for _, op := range log {
		if c.survives() {
			kept = append(kept, op)
		}
	}
	if !c.anyOrder {
		kept = log[:len(kept)]
	}
	return kept
}

// file is what is left of a file's bytes.
func (c *crash) file(f *file) *file {
	if left, ok := c.files[f]; ok {
		return left
	}
	b := slices.Clone(f.durable)
	for _, op := range f.pending {
		if c.survives() {
			b = op.on(b)
		} else if c.share > 0 {
			b = c.torn(op).on(b)
		}
	}
	left := &file{now: b, durable: slices.Clone(b)}
	c.files[f] = left
	return left
}

// torn is what a write leaves that did not survive: nothing, its beginning, or
// zeros. A cut that did not survive is none.
func (c *crash) torn(op fileOp) fileOp {
	none := fileOp{0, []byte{}}
	if len(op.data) == 0 {
		return none
	}
	switch c.rng.IntN(3) {
	case 0:
		return fileOp{op.at, op.data[:c.rng.IntN(len(op.data))]}
	case 1:
		return fileOp{op.at, make([]byte, len(op.data))}
	}
	return none
}
