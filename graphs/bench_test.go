package graphs

import (
	"fmt"
	"testing"

	"github.com/locorun/locorun/compiler/op"
)

// BenchmarkRun measures what a run costs beside its ops: the backend does
// nothing.
func BenchmarkRun(b *testing.B) {
	for _, n := range []int{1, 20, 200} {
		b.Run(fmt.Sprint(n, " ops"), func(b *testing.B) {
			s := newSketch()
			x, y := s.value("x", 0, op.F32, 2, 4), s.value("y", 0, op.F32, 2, 4)
			seg := s.segment("s1", do(op.ReLU, op.Attr{}, ids(x), ids(y)))
			for range n - 1 {
				s.Segments[seg].Ops = append(s.Segments[seg].Ops, do(op.Add, op.Attr{}, ids(x, y), ids(y)))
			}
			p := build(b, s, still{newSpy(b).Backend})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				run(b, p, seg, i)
			}
		})
	}
}

// BenchmarkBuild measures building and compiling the graph of a segment.
func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{20, 500} {
		b.Run(fmt.Sprint(n, " ops"), func(b *testing.B) {
			s := newSketch()
			x, y := s.f32("x", 4), s.f32("y", 4)
			seg := s.segment("s1", do(op.ReLU, op.Attr{}, ids(x), ids(y)))
			for range n - 1 {
				s.Segments[seg].Ops = append(s.Segments[seg].Ops, do(op.Add, op.Attr{}, ids(x, y), ids(y)))
			}
			backend := newSpy(b).Backend
			for b.Loop() {
				p, err := Build(s.Program, backend)
				if err != nil {
					b.Fatal(err)
				}
				p.Close()
			}
		})
	}
}
