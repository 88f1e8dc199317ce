package progress

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// state is all that is shown at one moment. It is a value: after makes a new
// one and changes nothing that an older one holds.
type state struct {
	total, perEpoch, start int
	colour                 bool
	now                    func() time.Time
	began, updated         time.Time

	done   int
	images float64
	note   string
	units  []Unit
}

func newState(o Options) state {
	s := state{total: o.Total, perEpoch: o.Epoch, start: o.Start, done: o.Start, colour: o.Colour, now: o.Now, images: math.NaN()}
	if s.now == nil {
		s.now = time.Now
	}
	if s.perEpoch <= 0 {
		s.perEpoch = max(1, o.Total)
	}
	s.began = s.now()
	s.updated = s.began
	for _, name := range o.Units {
		s.units = append(s.units, Unit{Name: name, Loss: math.NaN(), LearningRate: math.NaN(), EmbeddingStd: math.NaN()})
	}
	return s
}

func (s state) after(step Step) state {
	if step.Done > s.done {
		s.done, s.updated = step.Done, s.now()
	}
	s.images, s.note = step.ImagesPerSecond, step.Note
	s.units = slices.Clone(s.units)
	for _, u := range step.Units {
		i := slices.IndexFunc(s.units, func(old Unit) bool { return old.Name == u.Name })
		if i < 0 {
			s.units = append(s.units, u)
			continue
		}
		s.units[i] = u
	}
	return s
}

// epoch is the running epoch, from 1.
func (s *state) epoch() int { return min(s.done/s.perEpoch+1, s.epochs()) }

func (s *state) epochs() int { return max(1, (s.total+s.perEpoch-1)/s.perEpoch) }

// finished is the number of epochs that have ended.
func (s *state) finished() int {
	if s.done >= s.total {
		return s.epochs()
	}
	return s.done / s.perEpoch
}

func (s *state) percent() int {
	if s.total <= 0 {
		return 0
	}
	return min(100, int(100*int64(s.done)/int64(s.total)))
}

// left is the time to the end at the pace so far; false where there is none to
// go by yet.
func (s *state) left() (time.Duration, bool) {
	n := s.done - s.start
	if n <= 0 || s.done > s.total {
		return 0, false
	}
	pace := s.updated.Sub(s.began).Seconds() / float64(n)
	left := pace*float64(s.total-s.done) - s.now().Sub(s.updated).Seconds()
	return time.Duration(max(0, left) * float64(time.Second)).Round(time.Second), true
}

// pace is the end of the bar's line.
func (s *state) pace() string {
	var parts []string
	if !math.IsNaN(s.images) && s.images > 0 {
		parts = append(parts, fmt.Sprintf("%.0f images/s", s.images))
	}
	if s.done < s.total {
		if left, ok := s.left(); ok {
			parts = append(parts, left.String()+" left")
		}
	} else {
		parts = append(parts, "in "+s.updated.Sub(s.began).Round(time.Second).String())
	}
	if s.note != "" {
		parts = append(parts, s.note)
	}
	return strings.Join(parts, "  ")
}

// epochLine is the plain line of an epoch that has ended.
func (s *state) epochLine() string {
	parts := []string{fmt.Sprintf("epoch %d/%d", s.finished(), s.epochs())}
	for _, list := range []struct {
		name, format string
		value        func(Unit) float64
	}{
		{"loss", "%.4g", func(u Unit) float64 { return u.Loss }},
		{"std", "%.2f", func(u Unit) float64 { return u.EmbeddingStd }},
	} {
		if text := s.perUnit(list.format, list.value); text != "" {
			parts = append(parts, list.name+" "+text)
		}
	}
	if pace := s.pace(); pace != "" {
		parts = append(parts, pace)
	}
	return strings.Join(parts, "  ")
}

// perUnit lists one figure of all units. A loss that is not a number is shown,
// if the unit has reported at all.
func (s *state) perUnit(format string, value func(Unit) float64) string {
	var parts []string
	for _, u := range s.units {
		if v := value(u); !math.IsNaN(v) || u.reported() {
			parts = append(parts, u.Name+" "+fmt.Sprintf(format, v))
		}
	}
	return strings.Join(parts, ", ")
}

// reported says whether anything is known of a unit.
func (u Unit) reported() bool {
	return !math.IsNaN(u.Loss) || !math.IsNaN(u.LearningRate) || !math.IsNaN(u.EmbeddingStd)
}

// line is a unit's line below the bar; pad is the width of the longest name.
func (u Unit) line(pad int) string {
	text := fmt.Sprintf("  %-*s", pad, u.Name)
	if u.reported() {
		text += fmt.Sprintf("  loss %.4g", u.Loss)
	}
	if !math.IsNaN(u.LearningRate) {
		text += fmt.Sprintf("  lr %.3g", u.LearningRate)
	}
	if !math.IsNaN(u.EmbeddingStd) {
		text += fmt.Sprintf("  std %.2f", u.EmbeddingStd)
	}
	var waits []string
	for _, w := range u.Waits {
		if w.Seconds >= 0.1 {
			waits = append(waits, fmt.Sprintf("%s %s", w.Reason, shortly(w.Seconds)))
		}
	}
	if len(waits) > 0 {
		text += "  waited " + strings.Join(waits, ", ")
	}
	return strings.TrimRight(text, " ")
}

func shortly(seconds float64) string {
	if seconds < 10 {
		return fmt.Sprintf("%.1fs", seconds)
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

// The colours of a unit in trouble, as ANSI escapes.
const (
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"
)

// collapsed is the spread below which a unit is marked, the same as that of
// the alert rule.
const collapsed = 0.1

// colour is the escape that marks a unit, or "".
func (u Unit) colour() string {
	switch {
	case u.reported() && (math.IsNaN(u.Loss) || math.IsInf(u.Loss, 0)):
		return red
	case u.EmbeddingStd < collapsed:
		return yellow
	}
	return ""
}

// unitLines are the lines below the bar, each cut to width.
func (s *state) unitLines(width int) []string {
	pad := 0
	for _, u := range s.units {
		pad = max(pad, len(u.Name))
	}
	lines := make([]string, len(s.units))
	for i, u := range s.units {
		lines[i] = cut(u.line(pad), width)
		if c := u.colour(); s.colour && c != "" {
			lines[i] = c + lines[i] + reset
		}
	}
	return lines
}

// cut shortens a line to width characters. A unit's line is ASCII: names are by
// the language, numbers by nature.
func cut(line string, width int) string {
	if len(line) <= width {
		return line
	}
	return line[:max(0, width)]
}
