package optim

import (
	"math"
	"testing"

	"github.com/locorun/locorun/compiler/model"
)

func TestRateAtTheEdges(t *testing.T) {
	cosine := func(warm float64) model.Schedule { return model.Schedule{Kind: "cosine", Warmup: warm} }
	constant := model.Schedule{Kind: "constant"}
	for _, c := range []struct {
		name            string
		s               model.Schedule
		step, per, runs int
		want            float64
	}{
		{"constant at the start", constant, 0, 10, 4, 0.5},
		{"constant at the end", constant, 39, 10, 4, 0.5},
		{"constant past the end", constant, 400, 10, 4, 0.5},
		{"constant with a warm-up", model.Schedule{Kind: "constant", Warmup: 1}, 5, 10, 4, 0.25},
		{"cosine without warm-up starts full", cosine(0), 0, 10, 4, 0.5},
		{"cosine half way", cosine(0), 20, 10, 4, 0.25},
		{"cosine at the last step", cosine(0), 39, 10, 4, 0.25 * (1 + math.Cos(math.Pi*39/40))},
		{"cosine past the end", cosine(0), 40, 10, 4, 0},
		{"warm-up starts at nothing", cosine(2), 0, 10, 4, 0},
		{"warm-up first step up", cosine(2), 1, 10, 4, 0.5 / 20},
		{"warm-up last step", cosine(2), 19, 10, 4, 0.5 * 19 / 20},
		{"warm-up meets the full rate", cosine(2), 20, 10, 4, 0.5},
		{"cosine after warm-up, half way", cosine(2), 30, 10, 4, 0.25},
		{"a broken warm-up, below", cosine(0.25), 2, 10, 4, 0.5 * 2 / 2.5},
		{"a broken warm-up, above", cosine(0.25), 3, 10, 4, 0.25 * (1 + math.Cos(math.Pi*0.5/37.5))},
		{"warm-up of the whole run", cosine(4), 39, 10, 4, 0.5 * 39 / 40},
		{"warm-up of the whole run, past it", cosine(4), 40, 10, 4, 0},
		{"warm-up longer than the run", cosine(8), 39, 10, 4, 0.5 * 39 / 80},
		{"one step in all", cosine(0), 0, 1, 1, 0.5},
		{"before the start", cosine(0), -1, 10, 4, 0.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Rate(c.s, 0.5, c.step, c.per, c.runs)
			if math.Abs(got-c.want) > 1e-15 {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestRateRisesThenFalls(t *testing.T) {
	s := model.Schedule{Kind: "cosine", Warmup: 1.5}
	for step := 1; step < 60; step++ {
		before, now := Rate(s, 1, step-1, 6, 10), Rate(s, 1, step, 6, 10)
		if rising := step <= 9; rising != (now > before) {
			t.Errorf("step %d: %v after %v", step, now, before)
		}
		if now <= 0 || now > 1 {
			t.Errorf("step %d: %v is outside (0, 1]", step, now)
		}
	}
}

func TestRateRefusesAnUncheckedKind(t *testing.T) {
	defer func() {
		if want := `optim: schedule "step" passed the checker`; recover() != want {
			t.Errorf("no panic with %q", want)
		}
	}()
	Rate(model.Schedule{Kind: "step"}, 1, 0, 1, 1)
}
