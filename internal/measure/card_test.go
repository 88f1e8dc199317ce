package measure

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// queued is a backend that queues: it keeps what it is told and computes nothing.
type queued struct {
	device.Backend
	call    *device.Call
	wrote   map[op.Dtype][]byte // the last bytes of each type
	runs    []int               // calls before each wait
	pending int
	fails   error
}

type nowhere int64

func (n nowhere) Size() int64 { return int64(n) }

func (q *queued) Alloc(bytes int64) (device.Buffer, error) { return nowhere(bytes), nil }
func (q *queued) Free(device.Buffer)                       {}
func (q *queued) Write(t device.Tensor, src []byte) error {
	q.wrote[t.Dtype] = src
	return nil
}
func (q *queued) Run(c *device.Call) error {
	q.call = c
	q.pending++
	return nil
}
func (q *queued) Sync() error {
	q.runs = append(q.runs, q.pending)
	q.pending = 0
	return q.fails
}
func (q *queued) KernelName(_ op.Code, _ op.Attr, _, _ [][]int, maps op.Dtype) string {
	return maps.String()
}

// TestNarrowMaps: maps are of the type asked for, all else as ever, and the bytes
// of a call follow.
func TestNarrowMaps(t *testing.T) {
	for _, k := range small() {
		var bytes [2]int64
		for i, maps := range []op.Dtype{op.F32, op.BF16} {
			q := &queued{wrote: map[op.Dtype][]byte{}}
			got, err := Time(q, k, maps, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			row := op.Rows[k.Code]
			for _, side := range []struct {
				args []op.Arg
				have []device.Tensor
			}{{row.In, q.call.In}, {row.Out, q.call.Out}} {
				for j, have := range side.have {
					arg := side.args[min(j, len(side.args)-1)]
					want := op.F32
					if arg.Map && arg.Name != "index" {
						want = maps
					}
					if arg.Name == "index" {
						want = op.I32
					}
					if have.Buffer != nil && have.Dtype != want {
						t.Errorf("%v: %s is %v in %v", k.Code, arg.Name, have.Dtype, maps)
					}
				}
			}
			if bytes[i] = got.Bytes; got.Runs != maps.String() {
				t.Errorf("%v in %v runs as %s", k.Code, maps, got.Runs)
			}
		}
		// A copy may be of weights and an update always is; else maps are most of it.
		narrower, update := bytes[1] < bytes[0], k.Code == op.SGD || k.Code == op.LARS || k.Code == op.AdamW
		if narrower == (update || k.Code == op.Copy && !op.Rows[op.Copy].In[0].Map) {
			t.Errorf("%v: %d bytes, %d of float32", k.Code, bytes[1], bytes[0])
		}
	}
}

// TestWire: the same numbers in both types.
func TestWire(t *testing.T) {
	xs := []float32{1.00390625, -3, float32(math.Copysign(0, -1))} // the first lies between two bfloat16s, to even is 1
	narrow, wide := wire(xs, op.BF16, false), wire(xs, op.F32, false)
	for i, want := range []uint16{0x3f80, 0xc040, 0x8000} {
		if got := binary.LittleEndian.Uint16(narrow[2*i:]); got != want {
			t.Errorf("%g is %#04x, want %#04x", xs[i], got, want)
		}
		if got := binary.LittleEndian.Uint32(wide[4*i:]); got != math.Float32bits(xs[i]) {
			t.Errorf("%g is %#08x", xs[i], got)
		}
	}
	for i, want := range []uint16{0x3f80, 0x4040, 0} {
		if got := binary.LittleEndian.Uint16(wire(xs, op.BF16, true)[2*i:]); got != want {
			t.Errorf("%g without its sign is %#04x, want %#04x", xs[i], got, want)
		}
	}
}

// TestRows: on a backend that queues, a repeat is a row of calls with one wait
// behind them, and a failure that shows only there is told.
func TestRows(t *testing.T) {
	k := small()[0]
	q := &queued{wrote: map[op.Dtype][]byte{}}
	got, err := Time(q, k, op.F32, Limits{Repeats: 4})
	if err != nil {
		t.Fatal(err)
	}
	if len(q.runs) != 6 || q.runs[0] != 1 || q.runs[1] != 1 || q.pending != 0 || got.Seconds.N != 4 {
		t.Fatalf("calls before each wait: %v, %d behind the last, %d repeats", q.runs, q.pending, got.Seconds.N)
	}
	for _, n := range q.runs[2:] {
		if n != q.runs[2] || n < 1 || n > rowMost {
			t.Errorf("rows of %v calls", q.runs[2:])
		}
	}
	q.fails = errors.New("launch failed")
	if _, err = Time(q, k, op.F32, Limits{}); err == nil || !strings.HasSuffix(err.Error(), ": launch failed") {
		t.Errorf("error %v", err)
	}
}
