package pipeline

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// simulation runs a network's programs without goroutines: whoever can take a
// step takes it. By Kahn's theorem one order decides for all whether the
// programs come to their end.
type simulation struct {
	net     *network
	at      []int // next step of each unit, counted through all batches
	queues  [][]token
	buffers [][][]bool
	steps   [][]step
}

func simulate(s *Spec, batches int) *simulation {
	net := compose(s)
	sim := &simulation{net: net, at: make([]int, len(s.Units)), queues: make([][]token, len(net.links))}
	for _, b := range net.buffers {
		lent := make([][]bool, len(b.releases))
		for i := range lent {
			lent[i] = make([]bool, b.slots)
		}
		sim.buffers = append(sim.buffers, lent)
	}
	for _, program := range net.programs {
		var all []step
		for b := range batches {
			for _, st := range program {
				if b >= st.skip {
					st.task.Seq += b * s.Micros
					all = append(all, st)
				}
			}
		}
		sim.steps = append(sim.steps, all)
	}
	for moved := true; moved; {
		moved = false
		for u := range sim.steps {
			for sim.move(u) {
				moved = true
			}
		}
	}
	return sim
}

func (sim *simulation) stuck() bool {
	for u := range sim.steps {
		if sim.at[u] < len(sim.steps[u]) {
			return true
		}
	}
	return false
}

func (sim *simulation) move(u int) bool {
	if sim.at[u] == len(sim.steps[u]) {
		return false
	}
	st := sim.steps[u][sim.at[u]]
	switch st.do {
	case doClaim:
		if !sim.claim(st) {
			return false
		}
	case doRecv:
		if len(sim.queues[st.at]) == 0 {
			return false
		}
		sim.queues[st.at] = sim.queues[st.at][1:]
	case doSend:
		l := sim.net.links[st.at]
		room := l.capacity
		if room == 0 && sim.receives(l.to, st.at) {
			room = 1 // a rendezvous
		}
		if len(sim.queues[st.at]) >= room {
			return false
		}
		sim.queues[st.at] = append(sim.queues[st.at], token{seq: st.task.Seq})
	}
	sim.at[u]++
	return true
}

func (sim *simulation) receives(u, link int) bool {
	if sim.at[u] == len(sim.steps[u]) {
		return false
	}
	st := sim.steps[u][sim.at[u]]
	return st.do == doRecv && st.at == link
}

func (sim *simulation) claim(st step) bool {
	b, lent := sim.net.buffers[st.at], sim.buffers[st.at]
	for r, l := range b.releases {
		for ; lent[r][st.task.Seq%b.slots]; sim.queues[l] = sim.queues[l][1:] {
			if len(sim.queues[l]) == 0 {
				return false
			}
			lent[r][sim.queues[l][0].seq%b.slots] = false
		}
	}
	for r := range lent {
		lent[r][st.task.Seq%b.slots] = true
	}
	return true
}

// tightest gives every channel the least room, splitting what a pair needs
// together at random where it may be split, and then every map the least slots.
func tightest(s Spec, r *rand.Rand) Spec {
	s.Units = append([]UnitSpec(nil), s.Units...)
	need := s.Window() - 1
	for u := range s.Units {
		us := &s.Units[u]
		us.Maps, us.Gradients = 0, 0
		switch {
		case us.Feedbacks == 1:
			us.Maps = r.IntN(need + 1)
			us.Gradients = need - us.Maps
		case us.Feedbacks > 1:
			us.Gradients = need
		}
	}
	s.InputSlots = s.LeastSlots(-1)
	for u := range s.Units {
		s.Units[u].Slots = s.LeastSlots(u)
	}
	return s
}

func TestLeastRoomNeverDeadlocks(t *testing.T) {
	for n := 1; n <= 16; n++ {
		for seed := range uint64(60) {
			r := rand.New(rand.NewPCG(seed, uint64(n)))
			s := chain(n, int(seed%4))
			if seed >= 8 {
				s = randomChain(r, n)
			}
			s.Micros, s.Depth = 1+r.IntN(7), 1+r.IntN(8)
			s = tightest(modes[r.IntN(3)].of(s), r)
			if err := s.check(); err != nil {
				t.Fatal(err)
			}
			if err := s.checkRoom(); err != nil {
				t.Errorf("%d units, seed %d: refused at the least room: %v", n, seed, err)
			}
			if sim := simulate(&s, 4); sim.stuck() {
				t.Errorf("%d units, seed %d: deadlock at %v of %+v", n, seed, sim.at, s)
			}
		}
	}
}

// TestLeastRoomRuns is the same with goroutines and memory of the least slots.
func TestLeastRoomRuns(t *testing.T) {
	for n := 1; n <= 16; n++ {
		for seed := range uint64(12) {
			r := rand.New(rand.NewPCG(seed, uint64(n)))
			s := chain(n, int(seed%4))
			if seed >= 4 {
				s = randomChain(r, n)
			}
			s.Micros, s.Depth = 1+r.IntN(6), 1+r.IntN(8)
			s = tightest(modes[seed%3].of(s), r)
			got, _ := exactly(t, s, func(f *fake) {
				if seed%2 == 0 {
					f.before = dawdle(seed, f.u)
				}
			})
			if want := expected(t, s); got != want {
				t.Errorf("%d units, seed %d: other bytes than the oracle's", n, seed)
			}
		}
	}
}

// TestOneLessIsRefused takes one away wherever there is something to take. In
// the flowing modes the rule must also be tight: the pair would hang.
func TestOneLessIsRefused(t *testing.T) {
	for wide := 1; wide <= 2; wide++ {
		for depth := 2; depth <= 5; depth++ {
			for maps := range depth {
				for _, md := range modes {
					s := md.of(chain(wide+1, wide))
					s.Micros, s.Depth = depth+1, depth
					need := s.Window() - 1
					s.Units[0].Maps, s.Units[0].Gradients = min(maps, need), need-min(maps, need)
					if wide == 2 {
						s.Units[0].Gradients = need
						s.Units[1].Gradients = need
					}
					checkOneLess(t, fmt.Sprintf("%d messages, depth %d, %d maps, %s", wide, depth, maps, md.name), s, md)
				}
			}
		}
	}
}

func checkOneLess(t *testing.T, name string, s Spec, md mode) {
	t.Helper()
	s = slotted(s)
	if err := s.checkRoom(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for what, take := range map[string]func(*Spec){
		"maps":      func(s *Spec) { s.Units[0].Maps-- },
		"gradients": func(s *Spec) { s.Units[0].Gradients-- },
		"slots":     func(s *Spec) { s.Units[0].Slots-- },
	} {
		less := s
		less.Units = append([]UnitSpec(nil), s.Units...)
		take(&less)
		us := less.Units[0]
		if us.Maps < 0 || us.Gradients < 0 || us.Slots < 1 || what == "maps" && us.Feedbacks > 1 {
			continue
		}
		if what == "gradients" { // more slots, so that only the channel is short
			less.Units[0].Slots = 100
		}
		if less.checkRoom() == nil {
			t.Errorf("%s: one less of %s is not refused", name, what)
		}
		if tight := !md.batchLoss || md.recompute; tight && !simulate(&less, 3).stuck() {
			t.Errorf("%s: one less of %s does not hang, so the rule asks too much", name, what)
		}
	}
}

// slotted gives s the least slots.
func slotted(s Spec) Spec {
	s.Units = append([]UnitSpec(nil), s.Units...)
	s.InputSlots = s.LeastSlots(-1)
	for u := range s.Units {
		s.Units[u].Slots = s.LeastSlots(u)
	}
	return s
}

func TestRelayNeedsItsLag(t *testing.T) {
	s := chain(3, 1)
	s.Micros, s.Depth = 6, 3
	s.Units[1].Relays = true
	for u := range 2 {
		s.Units[u].Maps, s.Units[u].Gradients = 2, 0
	}
	s = slotted(s)
	if got, want := s.Units[0].Slots, 1+2+2; got != want {
		t.Fatalf("%d slots, want %d", got, want)
	}
	if simulate(&s, 3).stuck() {
		t.Error("hangs with the slots it asks for")
	}
	s.Units[0].Slots--
	if err := s.checkRoom(); err == nil {
		t.Error("one slot less is not refused")
	}
}
