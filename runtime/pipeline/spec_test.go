package pipeline

import (
	"testing"
	"time"
)

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Spec)
		want  string
	}{
		{"no units", func(s *Spec) { s.Units = nil }, "there are no units"},
		{"no microbatches", func(s *Spec) { s.Micros = 0 }, "0 microbatches in a batch; at least 1 is needed"},
		{"no depth", func(s *Spec) { s.Depth = 0 }, "depth 0; at least 1 is needed"},
		{"deep and lean", func(s *Spec) { s.Lean = true }, "depth 3; the lean order has depth 1"},
		{"nothing to recompute", func(s *Spec) { s.Recompute = true },
			"nothing to recompute for: the loss is taken per microbatch"},
		{"negative numbers", func(s *Spec) { s.First, s.Stall = -1, -time.Second },
			"first batch -1, batches 4, stall -1s: none may be negative"},
		{"negative room", func(s *Spec) { s.Units[1].Maps = -1 },
			`unit "mid": feedbacks 1, slots 3, maps -1, gradients 3: none may be negative`},
		{"a top that expects", func(s *Spec) { s.Units[2].Feedbacks = 1; s.Units[2].Sends = []bool{true, false} },
			`unit "high": it is the top, but expects 1 gradients per microbatch`},
		{"sends of another length", func(s *Spec) { s.Units[1].Sends = []bool{true} },
			`unit "mid": 1 sweeps say whether they send; it has 2`},
		{"sends nobody expects", func(s *Spec) { s.Units[0].Sends[1] = true },
			`unit "low": 1 sweeps send a gradient down; the unit below expects 0`},
		{"sends too few", func(s *Spec) { s.Units[2].Sends[0] = false },
			`unit "high": 0 sweeps send a gradient down; the unit below expects 1`},
		{"one below the minimum", func(s *Spec) { s.Units[1].Maps, s.Units[1].Gradients = 1, 0 },
			`units "mid" and "high": up to 3 microbatches lie between a map and its gradient, so the channels of maps and gradients need room for 2 together; they have 1 + 0`},
		{"one below with two messages", func(s *Spec) {
			s.Units[0].Feedbacks, s.Units[0].Sends, s.Units[1].Sends = 2, []bool{false, false, false}, []bool{true, true}
			s.Units[0].Gradients = 1
		}, `units "low" and "mid": with 2 messages per microbatch each channel of gradients needs room for 2; it has 1`},
		{"too few slots", func(s *Spec) { s.Units[0].Slots = 2 },
			`units "low" and "mid": the map between them has 2 slots; at least 3 are needed`},
		{"too few slots of images", func(s *Spec) { s.InputSlots = 2 },
			`unit "low": the images have 2 slots; at least 3 are needed`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := named(chain(3, 1))
			s.Micros, s.Depth, s.Batches = 5, 3, 4
			s = s.Roomy()
			c.spoil(&s)
			_, err := New(s, make([]Unit, len(s.Units)), Hooks{})
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestNewCountsUnits(t *testing.T) {
	_, err := New(chain(2, 1).Roomy(), make([]Unit, 1), Hooks{})
	if want := "1 units for the 2 of the spec"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestWindowFramesSlots(t *testing.T) {
	for _, c := range []struct {
		name            string
		depth, micros   int
		md              mode
		wide            int
		window          int
		frames          [2]int
		slotsUp, images int
	}{
		{"shallow", 1, 4, modes[0], 1, 1, [2]int{1, 1}, 1, 1},
		{"deep", 3, 4, modes[0], 1, 3, [2]int{3, 1}, 1, 3},
		{"deeper than the batch", 8, 4, modes[0], 1, 4, [2]int{4, 1}, 1, 4},
		{"nothing shared", 8, 4, modes[0], 0, 4, [2]int{1, 1}, 1, 1},
		{"kept", 1, 4, modes[1], 0, 4, [2]int{4, 4}, 4, 4},
		{"recomputed", 2, 4, modes[2], 1, 2, [2]int{2, 1}, 1, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := c.md.of(chain(2, c.wide))
			s.Depth, s.Micros = c.depth, c.micros
			s.Units[0].Gradients = s.Window()
			if s.Window() != c.window || s.Frames(0) != c.frames[0] || s.Frames(1) != c.frames[1] {
				t.Errorf("window %d, frames %d and %d", s.Window(), s.Frames(0), s.Frames(1))
			}
			if s.LeastSlots(0) != c.slotsUp || s.LeastSlots(-1) != c.images || s.LeastSlots(1) != 0 {
				t.Errorf("slots %d, %d, %d", s.LeastSlots(0), s.LeastSlots(-1), s.LeastSlots(1))
			}
		})
	}
}

// named gives a chain of three the names of the documentation.
func named(s Spec) Spec {
	for u, name := range []string{"low", "mid", "high"} {
		s.Units[u].Name = name
	}
	return s
}
