package cuda

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/driver"
)

// Updates are done many tensors at a time: within Join a Call of an optimiser is
// checked and noted, and the lane launches all it has noted before it queues
// anything else, at the latest at the end. So a net's many small tensors cost a
// launch or three, not one each. The table of them is made and uploaded once: a
// program updates the same tensors in every batch.

// update is a tensor's update.
type update struct {
	at             [4]driver.Pointer // w, g, m, v; 0 where absent
	n              int
	decay, factor  float32
	trust          float32
	blocks, before int // its own, and those of the tensors before it
}

// rule is what the updates that are done together have in common.
type rule struct {
	code op.Code
	attr op.Attr // but for what is each tensor's own
	lr   float64
	step int
}

// updates are those of a lane that wait, and the tables made so far by content.
type updates struct {
	joined bool
	rule   rule
	list   []update
	tables map[string]*buffer
	raw    []byte
}

const (
	updateChunk = 4096 // UPDATE_CHUNK of update.cu
	updateBytes = 64   // of struct Update
	mostTables  = 64   // of one lane; a program needs one a unit
)

// checkUpdate: results are the arguments, in place and of one shape.
func (r *run) checkUpdate() error {
	row := &op.Rows[r.call.Code]
	for i, s := range r.in {
		switch {
		case r.inAt[i] != r.outAt[i]:
			return fmt.Errorf("result %s is not in place", row.In[i].Name)
		case s == nil:
			continue
		}
		if err := fits(row.In[i].Name, s, r.in[0]...); err != nil {
			return err
		}
	}
	a := r.attr
	switch {
	case r.call.Code == op.SGD && r.in[2] == nil && a.Momentum != 0:
		return errors.New("momentum without an argument m")
	case r.call.Code == op.AdamW && r.call.Step < 1:
		return fmt.Errorf("step %d is not at least 1", r.call.Step)
	}
	return nil
}

// note is the ops SGD, LARS and AdamW: it adds an update to those that wait.
func note(r *run) error {
	if err := r.checkUpdate(); err != nil || r.n(0) == 0 {
		return err
	}
	a, u := r.attr, &r.lane.updates
	x := update{n: r.n(0), decay: float32(a.Decay), factor: float32(a.LRFactor), trust: float32(max(a.Trust, 0)), blocks: parts(r.n(0), updateChunk)}
	copy(x.at[:], r.inAt)
	a.Decay, a.LRFactor, a.Trust = 0, 0, 0
	common := rule{r.call.Code, a, r.call.LR, r.call.Step}
	if len(u.list) > 0 && (u.rule != common || u.touches(x)) {
		if err := r.lane.flush(); err != nil {
			return err
		}
	}
	if last := len(u.list) - 1; last >= 0 {
		x.before = u.list[last].before + u.list[last].blocks
	}
	u.rule, u.list = common, append(u.list, x)
	if u.joined {
		return nil
	}
	return r.lane.flush()
}

// Join implements device.Joiner.
func (l *lane) Join(f func() error) error {
	if l.updates.joined || l.recording() {
		return f()
	}
	l.updates.joined = true
	err := f()
	l.updates.joined = false
	if failed := l.flush(); failed != nil && err == nil {
		err = fmt.Errorf("cuda: %w", failed)
	}
	return err
}

// touches reports whether a waiting update has some of x's tensors.
func (u *updates) touches(x update) bool {
	return slices.ContainsFunc(u.list, func(y update) bool {
		return slices.ContainsFunc(x.at[:], func(p driver.Pointer) bool { return p != 0 && slices.Contains(y.at[:], p) })
	})
}

// flush launches the updates that wait. Whatever else is queued on a lane calls
// it first.
func (l *lane) flush() error {
	u := &l.updates
	if len(u.list) == 0 {
		return nil
	}
	if !l.calling {
		l.b.quiet.RLock()
		defer l.b.quiet.RUnlock()
	}
	defer l.queued()
	defer func() { u.list = u.list[:0] }()
	if err := l.update(); err != nil {
		return fmt.Errorf("%v of %d tensors: %w", u.rule.code, len(u.list), err)
	}
	return nil
}

func (l *lane) update() error {
	u := &l.updates
	last := u.list[len(u.list)-1]
	blocks := last.before + last.blocks
	table, err := l.updateTable(blocks)
	if err != nil {
		return err
	}
	tensors, where := uint64(table), uint64(table)+uint64(updateBytes*len(u.list))
	r := &l.run
	a := u.rule.attr
	if u.rule.code == op.AdamW {
		t := float64(u.rule.step)
		return r.line("adamw", blocks, tensors, where, f32(u.rule.lr), f32(a.Beta1), f32(1-a.Beta1), f32(a.Beta2), f32(1-a.Beta2),
			f32(1-math.Pow(a.Beta1, t)), f32(1-math.Pow(a.Beta2, t)), f32(a.Eps))
	}
	by := uint64(0)
	if u.adapts() {
		if by, err = r.trusts(tensors, where, blocks); err != nil {
			return err
		}
	}
	return r.line("sgd", blocks, tensors, where, by, f32(u.rule.lr), f32(a.Momentum), flag(a.Nesterov && u.rule.code == op.SGD))
}

// adapts reports whether some update of LARS has a factor of its own.
func (u *updates) adapts() bool {
	return u.rule.code == op.LARS && slices.ContainsFunc(u.list, func(x update) bool { return x.trust > 0 })
}

// trusts makes the factor of each tensor's step: sums of blocks, then of tensors.
func (r *run) trusts(tensors, where uint64, blocks int) (by uint64, err error) {
	u := &r.lane.updates
	partial, err := r.scratch(slotSums, 16*blocks+4*len(u.list))
	if err != nil {
		return 0, err
	}
	if err := r.line("lars_squares", blocks, tensors, where, uint64(partial)); err != nil {
		return 0, err
	}
	by = uint64(partial) + uint64(16*blocks)
	return by, r.line("lars_trust", len(u.list), tensors, uint64(partial), by, f64(u.rule.attr.Eps))
}

// updateTable is the table of the waiting updates on the card: struct Update of
// each, then struct UpdateChunk of each block.
func (l *lane) updateTable(blocks int) (driver.Pointer, error) {
	u := &l.updates
	u.raw = u.raw[:0]
	for i := range u.list {
		u.raw = u.list[i].encode(u.raw)
	}
	if have := u.tables[string(u.raw)]; have != nil {
		return have.at, nil
	}
	key := string(u.raw)
	if len(u.tables) >= mostTables {
		l.freeTables()
	}
	for i := range u.list {
		for chunk := range u.list[i].blocks {
			u.raw = binary.LittleEndian.AppendUint32(u.raw, uint32(i))
			u.raw = binary.LittleEndian.AppendUint32(u.raw, uint32(chunk))
		}
	}
	table, err := l.alloc(int64(len(u.raw)))
	if err != nil {
		return 0, err
	}
	if err := l.b.dev.Upload(table.at, u.raw, l.stream); err != nil {
		l.release(table)
		return 0, err
	}
	if u.tables == nil {
		u.tables = map[string]*buffer{}
	}
	u.tables[key] = table
	return table.at, nil
}

// encode appends struct Update.
func (x *update) encode(raw []byte) []byte {
	for _, p := range x.at {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(p))
	}
	raw = binary.LittleEndian.AppendUint64(raw, uint64(x.n))
	for _, n := range []int{x.before, x.blocks} {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(n))
	}
	for _, f := range []float32{x.decay, x.factor, x.trust, 0} {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(f))
	}
	return raw
}

// freeTables gives the tables' memory back.
func (l *lane) freeTables() {
	for _, t := range l.updates.tables {
		l.release(t)
	}
	clear(l.updates.tables)
}
