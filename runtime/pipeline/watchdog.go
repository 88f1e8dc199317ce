package pipeline

import (
	"fmt"
	"strings"
	"time"
)

// ticksPerStall is how often within Spec.Stall the watchdog looks.
const ticksPerStall = 4

// watch starts the watchdog, if one is wanted; the function returned ends it
// and waits for it. It only looks on: what it reports changes nothing.
func (p *Pipeline) watch() (stop func()) {
	if p.spec.Stall == 0 || p.hooks.Stalled == nil {
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		p.look(end)
	}()
	return func() { close(end); <-ended }
}

// look compares the count of moves from tick to tick.
func (p *Pipeline) look(end <-chan struct{}) {
	tick := time.NewTicker(max(p.spec.Stall/ticksPerStall, 1))
	defer tick.Stop()
	seen, still := -1, 0
	for {
		select {
		case <-end:
			return
		case <-tick.C:
		}
		moves := p.moves()
		if moves == seen {
			if still++; still == ticksPerStall {
				p.stalled(p.Report())
			}
			continue
		}
		if still >= ticksPerStall {
			p.stalled("")
		}
		seen, still = moves, 0
	}
}

// stalled tells the hook. What it panics with is dropped: who looks on does not
// end a run.
func (p *Pipeline) stalled(report string) {
	defer func() { _ = recover() }()
	p.hooks.Stalled(report)
}

func (p *Pipeline) moves() int {
	n := 0
	for _, w := range p.workers {
		w.mu.Lock()
		n += w.moves
		w.mu.Unlock()
	}
	return n
}

func (w *worker) activity() activity {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// Report says what every unit does or waits for at the moment, a line each, and
// then on whom the others wait. It may be called at any time by anyone.
//
//	unit "low" waits for gradient 1 of batch 3, microbatch 0 from "mid"; mid>low:gradient1 holds 0 of 2
//	unit "mid" waits for room to pass on the map of batch 3, microbatch 1 to "high"; low>mid:map is full, 2 of 2
//	unit "high" runs forward of batch 3, microbatch 0
//	all wait for unit "high"
func (p *Pipeline) Report() string {
	var b strings.Builder
	var busy []string
	for _, w := range p.workers {
		a := w.activity()
		fmt.Fprintf(&b, "unit %q %s\n", p.spec.Units[w.u].Name, p.describe(a))
		if a.link == nil && !a.over && a.do != idle {
			busy = append(busy, fmt.Sprintf("%q", p.spec.Units[w.u].Name))
		}
	}
	if len(busy) == 0 {
		b.WriteString("no unit is at work")
	} else {
		fmt.Fprintf(&b, "all wait for unit %s", strings.Join(busy, ", "))
	}
	return b.String()
}

func (p *Pipeline) describe(a activity) string {
	switch {
	case a.over:
		return "has ended"
	case a.do == doRun:
		return fmt.Sprintf("runs %v", a.task)
	case a.do == doFeed:
		return fmt.Sprintf("waits for the images of batch %d, microbatch %d", a.task.Batch, a.task.Micro)
	case a.do == doClose:
		return fmt.Sprintf("saves batch %d", a.task.Batch)
	case a.link == nil:
		return "has not begun"
	case a.do == doSend:
		return fmt.Sprintf("waits for room to pass on %s to %q; %s",
			a.link.carries(a.task), p.spec.Units[a.link.to].Name, a.link.fill())
	}
	return fmt.Sprintf("waits for %s from %q; %s",
		a.link.carries(a.task), p.spec.Units[a.link.from].Name, a.link.fill())
}

func (l *link) fill() string {
	if n := len(l.ch); n < cap(l.ch) || n == 0 {
		return fmt.Sprintf("%s holds %d of %d", l.name, n, cap(l.ch))
	}
	return fmt.Sprintf("%s is full, %d of %d", l.name, len(l.ch), cap(l.ch))
}

// carries names what a token of l for t stands for.
func (l *link) carries(t Task) string {
	at := fmt.Sprintf("batch %d, microbatch %d", t.Batch, t.Micro)
	switch l.kind {
	case mapLink:
		return "the map of " + at
	case gradientLink:
		return fmt.Sprintf("gradient %d of %s", l.event, at)
	case releaseLink:
		return "the slot for " + at
	case endedLink:
		return fmt.Sprintf("leave to go on with batch %d", t.Batch)
	}
	return fmt.Sprintf("its turn to run %v", t)
}
