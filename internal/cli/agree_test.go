package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/locorun/locorun/runtime"
	"github.com/locorun/locorun/runtime/checkpoint"
)

// TestAllowTier: a run that is allowed other kernels may leave the card that made
// its views, and come to one; what else it means stays.
func TestAllowTier(t *testing.T) {
	host := []runtime.Fact{{Name: "device", Value: "cpu/avx2"}, {Name: "train.seed", Value: "1"}}
	card := []runtime.Fact{{Name: "device", Value: "cuda/sm_90"}, {Name: "device.views", Value: "device"}, {Name: "train.seed", Value: "1"}}
	other := []runtime.Fact{card[0], card[1], {Name: "train.seed", Value: "2"}}
	viewed := []runtime.Fact{card[0], card[2]} // by the host, beside a card
	for name, c := range map[string]struct {
		was, is []runtime.Fact
		allow   []string
		want    string // of the error; "" for none
	}{
		"the same":                 {card, card, nil, ""},
		"from a card":              {card, host, nil, "--allow tier"},
		"from a card, allowed":     {card, host, []string{"tier"}, ""},
		"to a card, allowed":       {host, card, []string{"tier"}, ""},
		"other views":              {card, viewed, nil, "--allow tier goes on all the same"},
		"other views, allowed":     {card, viewed, []string{"tier"}, ""},
		"another program, allowed": {host, other, []string{"tier"}, "train.seed: the checkpoint has 1, the program 2"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(c.was)
			if err != nil {
				t.Fatal(err)
			}
			s := &session{cmd: &runCmd{Allow: c.allow}}
			err = s.agree(&origin{content: &checkpoint.Content{About: map[string]string{aboutMeaning: string(text)}}}, c.is, false)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, not %q", err, c.want)
			}
		})
	}
}
