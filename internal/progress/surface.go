package progress

import (
	"fmt"
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// plain writes a line per epoch.
type plain struct{ w io.Writer }

func (p plain) log(lines []byte) { _, _ = p.w.Write(lines) }

func (p plain) update(before, now *state) {
	if now.finished() > before.finished() {
		_, _ = fmt.Fprintln(p.w, now.epochLine())
	}
}

func (p plain) close() {}

// terminal draws a bar by mpb. The bar never completes by itself: a readout
// may follow the last batch, and its lines are to stay alive until close.
type terminal struct {
	w     io.Writer
	bars  *mpb.Progress
	bar   *mpb.Bar
	ended bool
}

func newTerminal(w io.Writer, o Options, snapshot func() state) *terminal {
	t := &terminal{w: w, bars: mpb.New(mpb.WithOutput(w), mpb.WithWidth(o.Width), mpb.WithAutoRefresh())}
	t.bar = t.bars.New(0, mpb.BarStyle(),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string {
			s := snapshot()
			return fmt.Sprintf("epoch %d/%d", s.epoch(), s.epochs())
		})),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			s := snapshot()
			return fmt.Sprintf("%d %%  %s", s.percent(), s.pace())
		})),
		mpb.BarExtender(mpb.BarFillerFunc(func(w io.Writer, stat decor.Statistics) error {
			s := snapshot()
			for _, line := range s.unitLines(stat.AvailableWidth) {
				if _, err := fmt.Fprintln(w, line); err != nil {
					return err
				}
			}
			return nil
		}), false),
	)
	t.bar.SetTotal(int64(max(1, o.Total)), false)
	t.bar.SetCurrent(int64(min(o.Start, o.Total)))
	return t
}

// log hands lines to mpb, which puts them above the bar at the next redraw.
// Once mpb has ended, by close or because its writer failed, they go to the
// writer directly.
func (t *terminal) log(lines []byte) {
	if !t.ended {
		if _, err := t.bars.Write(lines); err == nil {
			return
		}
	}
	_, _ = t.w.Write(lines)
}

func (t *terminal) update(_, now *state) {
	t.bar.SetCurrent(int64(min(now.done, now.total)))
}

func (t *terminal) close() {
	t.bars.Shutdown() // draws once more
	t.ended = true
}
