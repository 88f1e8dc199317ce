package pipeline

import "fmt"

// How much room the channels need. Write W for the window: the most
// microbatches between sending a map and reading its gradient.
//
// Units form a chain, and a blocked unit waits for one other. Leave relays
// aside: then it waits for a neighbour, and a circle of waits in a chain is two
// neighbours waiting for each other. Call them low and high; releases and ended
// batches always find room, so high can wait only to receive a map or to send a
// gradient, low only to send map q, to read a gradient, for a free slot or for
// an ended batch. Before sending map q low has read all gradients of
// microbatches up to q-W of the batch.
//
// (1) low sends map q, high sends gradient x. The maps x+1..q-1 fill the channel
// of maps, the gradients q-W+1..x-1 that of gradients: W-2 tokens in all, for no
// q and x are these more. So room for W-1 in both channels together is enough,
// and with W-2 or less it happens.
//
// (2) low reads gradient k > 1 of microbatch y, having sent y+W-1. High makes
// that one when it has received y+W-1, and on the way sends the first gradients
// of y+1..y+W-1, which low does not read yet. So where there is more than one
// message per microbatch, the channel of the first needs room for W-1 alone.
// The later channels need none: a later gradient of x is sent when high has
// received x+W-1, and low reads it right after sending that.
//
// (3) low waits for the slot of q, that is for q-S to be released, having sent
// all before q. High, at x, has released what is W or more behind (all behind
// if it gets no gradients itself): call that distance hold. If it waits for a
// map, x = q-1 and S >= hold is enough. If it sends gradient x, then those of
// q-W+1..x-1 fill the channel, x lags by W-1-Gradients behind q, and S must be
// larger by that.
//
// (4) low waits for high to end a batch, or reads the gradients left at a
// batch's end: then it has sent all maps of that batch, and high misses none.
//
// Relays add waits that skip units: low waits for the slot of a map that a unit
// further up still reads. Each unit between may lag behind the one below it as
// in (3), and the lags add up.
//
// With one loss per batch over kept frames all maps go up before any gradient
// comes down, W is the whole batch, (1) and the lags of (3) cannot happen; the
// rule is kept as it stands, so that such a program is never refused for less
// depth than its window.

// Window is the most microbatches between sending a map and reading its
// gradient, and so the number of slots a gradient between two units needs: a
// map of Seq is sent only when the gradients of Seq-Window have been swept.
func (s *Spec) Window() int {
	if s.kept() {
		return s.Micros
	}
	return min(s.Depth, s.Micros)
}

// Frames is the number of microbatches whose saved values unit u holds at once.
func (s *Spec) Frames(u int) int {
	if s.kept() || s.Units[u].Feedbacks > 0 {
		return s.Window()
	}
	return 1
}

// LeastSlots is the least number of slots of the map that unit u writes, or of
// the images where u is -1, given the capacities. It is 0 for a unit that
// writes none.
func (s *Spec) LeastSlots(u int) int {
	if u >= 0 && !s.writes(u) {
		return 0
	}
	least, lag := 1, 0
	for r := u + 1; r <= s.top() && s.root(r) == u; r++ {
		lag += s.lag(r - 1)
		least = max(least, s.Frames(r)+lag)
	}
	return least
}

// lag is how far the unit above u can be kept back by gradients u does not read.
func (s *Spec) lag(u int) int {
	if u < 0 || s.Lean || s.kept() || s.Units[u].Feedbacks == 0 {
		return 0
	}
	return max(0, s.Window()-1-s.Units[u].Gradients)
}

// Roomy returns s with capacities at which no unit waits for room in a channel
// rather than for data, and with slots for a window wherever none are given.
func (s Spec) Roomy() Spec {
	s.Units = append([]UnitSpec(nil), s.Units...)
	for u := range s.Units {
		s.Units[u].Gradients = s.Window()
	}
	if s.InputSlots == 0 {
		s.InputSlots = s.LeastSlots(-1)
	}
	for u := range s.Units {
		if s.Units[u].Slots == 0 {
			// A unit that gets no gradients would do with one slot, but then it
			// and the one below would take turns.
			s.Units[u].Slots = max(s.LeastSlots(u), s.Window())
		}
		s.Units[u].Maps = max(s.Window(), s.Units[u].Slots)
	}
	return s
}

// checkRoom refuses what can deadlock, by the rules above.
func (s *Spec) checkRoom() error {
	if s.Lean {
		return nil
	}
	for u := 0; u < s.top(); u++ {
		if err := s.checkPair(u); err != nil {
			return fmt.Errorf("units %q and %q: %w", s.Units[u].Name, s.Units[u+1].Name, err)
		}
	}
	if least := s.LeastSlots(-1); s.InputSlots < least {
		return fmt.Errorf("unit %q: the images have %d slots; at least %d are needed",
			s.Units[0].Name, s.InputSlots, least)
	}
	return nil
}

// checkPair checks the channels between unit u and the one above.
func (s *Spec) checkPair(u int) error {
	us, need := &s.Units[u], s.Window()-1
	if us.Feedbacks > 0 && us.Maps+us.Gradients < need {
		return fmt.Errorf("up to %d microbatches lie between a map and its gradient, so the channels of maps and gradients need room for %d together; they have %d + %d",
			need+1, need, us.Maps, us.Gradients)
	}
	if us.Feedbacks > 1 && us.Gradients < need {
		return fmt.Errorf("with %d messages per microbatch each channel of gradients needs room for %d; it has %d",
			us.Feedbacks, need, us.Gradients)
	}
	if least := s.LeastSlots(u); us.Slots < least {
		return fmt.Errorf("the map between them has %d slots; at least %d are needed", us.Slots, least)
	}
	return nil
}
