package pipeline

// A unit's program is its list of steps for one batch. Per microbatch m, with
// window W, a unit in the middle does
//
//	receive map m, claim slot, Forward m, Loss m, Sweep m 0, send gradient m,
//	send map m, then for m-W+1: receive gradient k, Sweep k, send gradient,
//	release map m-W+1
//
// and after the last one the gradients that are left, then Update. With one
// loss per batch, either all Forward come first and then all sweeps (kept), or
// a pass of Embed comes before all this (recomputed). The lean order is the
// same steps with the baton received and sent around them.

// action is what a step does.
type action uint8

const (
	idle     action = iota
	doRun           // the unit's task
	doFeed          // the images' arrival
	doClaim         // wait until the buffer's slot is free
	doSend          // a token into a link
	doRecv          // a token from a link
	doDecide        // fix whether this batch is saved, whether it is the last
	doClose         // the snapshot, if this batch is saved
)

// step is one step of a program. task is its task, or the one it serves, of
// batch 0. at is the link or buffer. The first skip batches go without it.
type step struct {
	do   action
	task Task
	at   int
	skip int
}

// linkKind is what a link carries.
type linkKind uint8

const (
	mapLink      linkKind = iota // up: a map lies in its slot
	gradientLink                 // down: a gradient lies in its slot
	releaseLink                  // down: a map's slot is no longer read
	endedLink                    // down: the unit above ended a batch
	turnLink                     // the baton of the lean order
)

// linkSpec is a bounded channel with one writer and one reader.
type linkSpec struct {
	kind     linkKind
	from, to int
	event    int // gradientLink: number of the message, from 1
	capacity int
}

// bufferSpec is the slots of a map, owned by its writer; releases are the links
// on which its readers give them back.
type bufferSpec struct {
	slots    int
	releases []int
}

// network is the programs of all units with what joins them.
type network struct {
	links    []linkSpec
	buffers  []bufferSpec
	programs [][]step
}

// compose lays out a checked spec.
func compose(s *Spec) *network {
	c := &composer{spec: s, net: &network{programs: make([][]step, len(s.Units))}}
	if s.Lean {
		c.lean()
		return c.net
	}
	c.wire()
	for u := range s.Units {
		c.unit(u)
	}
	return c.net
}

// composer builds a network. A slice holds, per unit, the link or buffer it
// shares with the unit above, or none.
type composer struct {
	spec      *Spec
	net       *network
	maps      []int
	gradients [][]int
	ended     []int
	releases  []int // by reader
	buffers   []int // by writer, the images' first
}

const none = -1

func (c *composer) link(l linkSpec) int {
	c.net.links = append(c.net.links, l)
	return len(c.net.links) - 1
}

func (c *composer) wire() {
	for u := range c.spec.Units[:c.spec.top()] {
		us := c.spec.Units[u]
		c.maps = append(c.maps, c.link(linkSpec{kind: mapLink, from: u, to: u + 1, capacity: us.Maps}))
		// When the unit above ends b, this one has begun b, so at most b-1 and b
		// are not yet received: sending never waits.
		c.ended = append(c.ended, c.link(linkSpec{kind: endedLink, from: u + 1, to: u, capacity: 2}))
		c.gradients = append(c.gradients, nil)
		for k := 1; k <= us.Feedbacks; k++ {
			c.gradients[u] = append(c.gradients[u],
				c.link(linkSpec{kind: gradientLink, from: u + 1, to: u, event: k, capacity: us.Gradients}))
		}
	}
	c.wireBuffers()
}

// wireBuffers joins the readers of each map to its writer, unit 0 being the
// writer of the images. What unit 0 itself reads of them is over by its own
// order (see LeastSlots), so it has no link to itself.
func (c *composer) wireBuffers() {
	s := c.spec
	for w := -1; w <= s.top(); w++ {
		c.buffers = append(c.buffers, len(c.net.buffers))
		slots := s.InputSlots
		if w >= 0 {
			slots = s.Units[w].Slots
		}
		c.net.buffers = append(c.net.buffers, bufferSpec{slots: slots})
	}
	for r := range s.Units {
		w := s.root(r)
		if r == 0 {
			c.releases = append(c.releases, none)
			continue
		}
		b := &c.net.buffers[w+1]
		// Each slot is lent once at a time, so a release always finds room.
		l := c.link(linkSpec{kind: releaseLink, from: r, to: max(w, 0), capacity: b.slots})
		b.releases = append(b.releases, l)
		c.releases = append(c.releases, l)
	}
}

func (c *composer) add(u int, s step) { c.net.programs[u] = append(c.net.programs[u], s) }

func (c *composer) run(u int, t Task) { c.add(u, step{do: doRun, task: t}) }

func (c *composer) send(u, link int, t Task) { c.add(u, step{do: doSend, task: t, at: link}) }

func (c *composer) recv(u, link int, t Task) { c.add(u, step{do: doRecv, task: t, at: link}) }

func task(k TaskKind, m, event int) Task { return Task{Kind: k, Micro: m, Seq: m, Event: event} }

func (c *composer) unit(u int) {
	s, last := c.spec, c.spec.Micros-1
	above := u < s.top()
	if above && !s.Units[u].Tied {
		c.add(u, step{do: doRecv, task: task(Update, last, 0), at: c.ended[u], skip: 2})
	}
	if s.kept() {
		c.keptBatch(u)
	} else {
		c.flowingBatch(u)
	}
	if above && s.Units[u].Tied {
		c.add(u, step{do: doRecv, task: task(Update, last, 0), at: c.ended[u], skip: 1})
	}
	if !above && u == 0 {
		c.add(u, step{do: doDecide})
	}
	c.run(u, task(Update, last, 0))
	if u > 0 {
		c.send(u, c.ended[u-1], task(Update, last, 0))
	}
	c.add(u, step{do: doClose})
}

// flowingBatch is a batch whose microbatches are swept as they come, after a
// pass of embeddings where the batch has one loss.
func (c *composer) flowingBatch(u int) {
	s, last := c.spec, c.spec.Micros-1
	if s.Recompute {
		for m := range s.Micros {
			c.arrive(u, task(Embed, m, 0))
			c.pass(u, m, false)
			c.release(u, m)
		}
		c.run(u, task(Loss, last, 0))
	}
	behind := s.Window() - 1
	for m := range s.Micros + behind {
		if m <= last {
			c.arrive(u, task(Forward, m, 0))
			if !s.BatchLoss {
				c.run(u, task(Loss, m, 0))
			}
			c.sweep(u, m, 0)
			c.pass(u, m, m == last)
		}
		if m >= behind {
			c.feedback(u, m-behind)
		}
	}
}

// keptBatch is a batch with one loss over all frames.
func (c *composer) keptBatch(u int) {
	last := c.spec.Micros - 1
	for m := range c.spec.Micros {
		c.arrive(u, task(Forward, m, 0))
		c.pass(u, m, m == last)
	}
	c.run(u, task(Loss, last, 0))
	for m := range c.spec.Micros {
		c.sweep(u, m, 0)
	}
	for m := range c.spec.Micros {
		c.feedback(u, m)
	}
}

// arrive waits for t's input and for the slot of its output, and runs t.
func (c *composer) arrive(u int, t Task) {
	if u > 0 {
		c.recv(u, c.maps[u-1], t)
	} else {
		c.claim(u, c.buffers[0], t)
		c.add(u, step{do: doFeed, task: t})
	}
	if c.spec.writes(u) {
		c.claim(u, c.buffers[u+1], t)
	}
	c.run(u, t)
}

func (c *composer) claim(u, buffer int, t Task) {
	if len(c.net.buffers[buffer].releases) > 0 {
		c.add(u, step{do: doClaim, task: t, at: buffer})
	}
}

// pass sends map m up; with the last one of a batch goes the decision.
func (c *composer) pass(u, m int, decides bool) {
	if u == c.spec.top() {
		return
	}
	if u == 0 && decides {
		c.add(u, step{do: doDecide})
	}
	c.send(u, c.maps[u], task(Forward, m, 0))
}

// sweep runs an event and hands its gradient on. The unit's last event of a
// microbatch is the last to read its input map.
func (c *composer) sweep(u, m, event int) {
	us := &c.spec.Units[u]
	c.run(u, task(Sweep, m, event))
	if us.Sends[event] {
		message := count(us.Sends[:event+1])
		c.send(u, c.gradients[u-1][message-1], task(Sweep, m, message))
	}
	if event == us.Feedbacks {
		c.release(u, m)
	}
}

func (c *composer) feedback(u, m int) {
	for k := 1; k <= c.spec.Units[u].Feedbacks; k++ {
		c.recv(u, c.gradients[u][k-1], task(Sweep, m, k))
		c.sweep(u, m, k)
	}
}

func (c *composer) release(u, m int) {
	if l := c.releases[u]; l != none {
		c.send(u, l, task(Forward, m, 0))
	}
}
