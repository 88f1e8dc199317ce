package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/locorun/locorun/runtime"
	"github.com/locorun/locorun/runtime/journal"
	"github.com/locorun/locorun/runtime/source"
)

// batch records and shows one unit's batch.
func (s *session) batch(r runtime.BatchReport) {
	var bs []journal.Batch
	for _, l := range r.Losses {
		b := journal.Batch{
			Epoch: r.Epoch, Batch: (r.Step-1)%s.run.PerEpoch() + 1, Step: r.Step, Unit: l.Name,
			Loss: journal.Number(l.Loss), LearningRate: journal.Number(r.LearningRate),
			EmbeddingStd: journal.Number(l.EmbeddingStd), EffectiveRank: journal.Number(l.EffectiveRank),
			GradientNorm: journal.Number(r.GradientNorm),
		}
		if !l.Watch {
			b.Data = r.Data
		}
		t := r.Seconds
		b.Waits = journal.Waits{Data: journal.Number(t.Data), Input: journal.Number(t.Input), Gradient: journal.Number(t.Gradient), Output: journal.Number(t.Output)}
		b.Steps = journal.Steps{Forward: journal.Number(t.Forward), Sweep: journal.Number(t.Sweep), Update: journal.Number(t.Update), Recompute: journal.Number(t.Recompute)}
		s.screen.mu.Lock()
		b.ImagesPerSecond = journal.Number(s.screen.page.ImagesPerSecond)
		s.screen.mu.Unlock()
		bs = append(bs, b)
	}
	s.journal.Batch(bs...)
	s.screen.batch(r)
}

// readout records and shows a readout.
func (s *session) readout(r runtime.Readout) {
	s.journal.Readout(journal.Readout{
		Epoch: r.Epoch, Step: r.Batch, Readout: r.Kind, Stage: r.Stage,
		Accuracy: journal.Number(r.Trained.Top1), Random: journal.Number(r.Random.Top1), Pixels: journal.Number(r.Pixels.Top1),
		Protocol: r.Trained.Protocol,
	})
	s.file.Info("readout", "readout", r.Kind, "stage", r.Stage, "epoch", r.Epoch, "accuracy", r.Trained.Top1)
	s.screen.readout(r)
}

// stalled shows the watchdog's report; the empty text says that it is over.
func (s *session) stalled(report string) {
	s.screen.mu.Lock()
	s.screen.stalled = report
	s.screen.mu.Unlock()
	if report == "" {
		s.log.Info("moving again")
		return
	}
	s.log.Warn("nothing moves", "report", report)
}

func (s *session) unapplied(unit string, batch int, what string) {
	s.log.Warn("a batch was not finite and was left out", "unit", unit, "batch", batch, "seen", what)
}

// alarm shows that a loss begins to go wrong; the empty text says that it is
// over.
func (s *session) alarm(loss, kind, text string) {
	if text == "" {
		s.log.Info(kind+" is over", "loss", loss)
		return
	}
	s.log.Warn(kind, "loss", loss, "seen", text)
}

// readoutLine is a readout beside its floors, in one line.
func readoutLine(r runtime.Readout) string {
	return fmt.Sprintf("epoch %d  %s readout on %s: %.1f %%  (random encoder %.1f %%, raw pixels %.1f %%)",
		r.Epoch, r.Kind, r.Stage, 100*r.Trained.Top1, 100*r.Random.Top1, 100*r.Pixels.Top1)
}

// printReadouts prints the last result of each readout with its protocol.
func printReadouts(w io.Writer, rs []runtime.Readout) {
	last := map[string]runtime.Readout{}
	var order []string
	for _, r := range rs {
		key := fmt.Sprintf("%d %s", r.Index, r.Stage)
		if _, ok := last[key]; !ok {
			order = append(order, key)
		}
		last[key] = r
	}
	protocol := ""
	for _, key := range order {
		r := last[key]
		if r.Trained.Protocol != protocol {
			protocol = r.Trained.Protocol
			fmt.Fprintf(w, "\n%s\n", protocol)
		}
		fmt.Fprintf(w, "  on %-8s trained %5.1f %%   random encoder %5.1f %%   raw pixels %5.1f %%\n",
			r.Stage, 100*r.Trained.Top1, 100*r.Random.Top1, 100*r.Pixels.Top1)
		if r.Trained.Warning != "" {
			fmt.Fprintf(w, "  warning: %s\n", r.Trained.Warning)
		}
	}
}

// normText says how pictures are normalised.
func normText(n source.Norm) string {
	if len(n.Mean) == 0 {
		return "pictures are not normalised"
	}
	list := func(vs []float32) string {
		s := make([]string, len(vs))
		for i, v := range vs {
			s[i] = fmt.Sprintf("%.4f", v)
		}
		return "[" + strings.Join(s, ", ") + "]"
	}
	return fmt.Sprintf("normalise mean=%s std=%s", list(n.Mean), list(n.Std))
}
