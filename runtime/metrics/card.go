package metrics

import (
	"fmt"
	"sync"
	"time"
)

// Card tells how a card is used, by all processes together. It may be slow and
// may fail.
type Card interface {
	// Memory is what is occupied, and what there is, in bytes.
	Memory() (used, total int64, err error)
	// Utilisation is the share of the last moments in which a kernel ran, and in
	// which memory was read or written, in percent.
	Utilisation() (kernels, memory int, err error)
	Close() error
}

const (
	cardEvery    = time.Second // between two looks at a card
	cardPatience = time.Second // for the look at hand, when a watch ends
)

// cardWatch looks at a card and tells the set.
type cardWatch struct {
	set    *Set
	device string
	card   Card
	log    func(string)
	said   map[string]bool // what failed before
}

// WatchCard looks at a card once a second, in a goroutine of its own, until stop
// is called; neither a scrape nor a batch waits for it. What cannot be told is
// absent from the metrics, and told to log and counted as an error the first
// time. The card is the set's to close; one that hangs is left behind.
func (s *Set) WatchCard(device string, c Card, log func(string)) (stop func()) {
	clock := time.NewTicker(cardEvery)
	end := s.watchCard(device, c, log, clock.C)
	return func() {
		clock.Stop()
		end()
	}
}

// watchCard looks at once, and whenever the clock says so.
func (s *Set) watchCard(device string, c Card, log func(string), clock <-chan time.Time) (stop func()) {
	w := &cardWatch{s, device, c, log, map[string]bool{}}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		w.watch(clock, done)
	}()
	return sync.OnceFunc(func() {
		close(done)
		select {
		case <-ended:
		case <-time.After(cardPatience):
		}
	})
}

// watch looks until done is closed.
func (w *cardWatch) watch(clock <-chan time.Time, done <-chan struct{}) {
	defer func() {
		if v := recover(); v != nil {
			w.failed("the watch", fmt.Errorf("%v", v))
		}
	}()
	defer func() {
		if err := w.card.Close(); err != nil {
			w.failed("its monitor's end", err)
		}
	}()
	for {
		w.look()
		select {
		case <-clock:
		case <-done:
			return
		}
	}
}

// look tells the set how the card is used now.
func (w *cardWatch) look() {
	if used, total, err := w.card.Memory(); err != nil {
		w.failed("its memory", err)
		w.set.unset(memoryBytes, w.device, Occupied)
		w.set.unset(memoryBytes, w.device, Total)
	} else {
		w.set.Memory(w.device, Occupied, used)
		w.set.Memory(w.device, Total, total)
	}
	if kernels, memory, err := w.card.Utilisation(); err != nil {
		w.failed("its utilisation", err)
		w.set.unset(deviceKernels, w.device)
		w.set.unset(deviceMemory, w.device)
	} else {
		w.set.Utilisation(w.device, float64(kernels)/100, float64(memory)/100)
	}
}

// failed tells what cannot be told, once.
func (w *cardWatch) failed(what string, err error) {
	if w.said[what] {
		return
	}
	w.said[what] = true
	w.set.Error("metrics")
	if w.log != nil {
		w.log(fmt.Sprintf("%s, %s: %v", w.device, what, err))
	}
}
