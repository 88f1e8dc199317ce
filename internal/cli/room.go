package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime"
)

// fit refuses a run that a card's memory cannot hold, before anything of it is
// there. opt is how frames are held, workers those of the loader.
func (m memoryFlags) fit(net *model.Net, opt lower.Options, workers int, b device.Backend, readouts bool) error {
	if p, ok := b.(*device.Placed); ok {
		return fitPlaces(net, opt, p, readouts)
	}
	r, err := runtime.RoomOf(net, opt, b, readouts)
	if err != nil || r == nil || r.Fits() {
		return err
	}
	return m.overfull(net, workers, b, r)
}

// overfull says how much of a card's memory is wanted and free, and what would
// need less.
func (m memoryFlags) overfull(net *model.Net, workers int, b device.Backend, r *runtime.Room) error {
	remedies, err := m.remedies(net, workers, b, r)
	if err != nil {
		return err
	}
	return wrongf("the run needs %s of the card's memory (%s), %s more than the %s that are free of %s; %s",
		plan.Bytes(r.Need()), parts(r), plan.Bytes(r.Need()-r.Free), plan.Bytes(r.Free), plan.Bytes(r.Total), strings.Join(remedies, "; "))
}

// parts are what a run takes, in words.
func parts(r *runtime.Room) string {
	text := fmt.Sprintf("%s planned, %s for kernels", plan.Bytes(r.Program), plan.Bytes(r.Kernels))
	if r.Readouts > 0 {
		text += fmt.Sprintf(", %s for readouts", plan.Bytes(r.Readouts))
	}
	return text + fmt.Sprintf(", %s in reserve", plan.Bytes(r.Reserve))
}

// remedies lists what would make a run fit: first what is known to.
func (m memoryFlags) remedies(net *model.Net, workers int, b device.Backend, r *runtime.Room) (list []string, err error) {
	held, err := m.lighter(net, workers, b, r.Spare())
	if err != nil {
		return nil, err
	}
	if held != "" {
		list = append(list, held)
	}
	if r.Need() <= r.Total {
		list = append(list, fmt.Sprintf("what holds the other %s may end: `nvidia-smi` names it", plan.Bytes(r.Total-r.Free)))
	}
	less := "a smaller microbatch"
	if net.Train.Microbatch == 1 {
		less = "smaller pictures or fewer channels"
	}
	if net.Train.Precision != model.BF16 {
		less += ", or `precision bf16`,"
	}
	return append(list, less+" needs less; --device cuda:N takes another card"), nil
}

// lighter names the flags by which the program and its kernels take at most so
// many bytes; "" where none do.
func (m memoryFlags) lighter(net *model.Net, workers int, b device.Backend, most int64) (string, error) {
	if most <= 0 {
		return "", nil
	}
	turns, err := lower.Turns(net, lower.Options{Depth: 1})
	if err != nil {
		return "", fmt.Errorf("%s: %w", net.File, err)
	}
	loader := runtime.LoaderBytes(net, turns[0], workers) // lies with the host, and counts for --memory
	limit := (most + loader) >> 20 << 20                  // as it is written below
	choice, err := runtime.Budget{Limit: limit, Workers: workers, Backend: b}.Choose(net)
	if err != nil || choice.Chosen() == nil {
		return "", err
	}
	c := *choice.Chosen()
	return fmt.Sprintf("--memory %dMiB alone leads to %s, which needs %s and fits", limit>>20, c, plan.Bytes(c.Bytes-loader)), nil
}

// printRoom writes what a plan takes of a card's memory; nothing where there is
// no card.
func printRoom(w io.Writer, r *runtime.Room) error {
	if r == nil {
		return nil
	}
	verdict := "it fits"
	if !r.Fits() {
		verdict = "it does not fit"
	}
	_, err := fmt.Fprintf(w, "\nMemory of the card: %s are needed (%s), %s of %s are free: %s\n",
		plan.Bytes(r.Need()), parts(r), plan.Bytes(r.Free), plan.Bytes(r.Total), verdict)
	return err
}
