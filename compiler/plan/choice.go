package plan

import (
	"fmt"
	"io"
	"strings"
)

// Choice is how the frames of a run are held, and what else could have been
// chosen.
type Choice struct {
	Limit      int64       `json:"limit"`      // bytes a run may take; 0: no limit was given
	Candidates []Candidate `json:"candidates"` // most preferred first
	Why        string      `json:"why"`        // "" where nothing fits
}

// Candidate is one way to hold frames.
type Candidate struct {
	Frames string  `json:"frames"` // one, kept, recomputed
	Depth  int     `json:"depth"`  // microbatches in flight per unit
	Bytes  int64   `json:"bytes"`  // Memory.Total of its plan
	Fits   bool    `json:"fits"`
	Extra  float64 `json:"extra_forward_percent"` // operations that recomputing adds to a step
	Chosen bool    `json:"chosen"`
}

// String is the candidate as a sentence names it.
func (c Candidate) String() string {
	if c.Frames == "one" {
		return fmt.Sprintf("depth %d", c.Depth)
	}
	return fmt.Sprintf("frames %s, depth %d", c.Frames, c.Depth)
}

// Chosen is the candidate chosen, nil where none fits.
func (c *Choice) Chosen() *Candidate {
	for i := range c.Candidates {
		if c.Candidates[i].Chosen {
			return &c.Candidates[i]
		}
	}
	return nil
}

// line is the choice in one line.
func (c *Choice) line() string {
	return fmt.Sprintf("memory choice: %s: %s\n", c.Chosen(), c.Why)
}

// PrintChoice writes the ways to hold frames that could have been chosen, and
// which was.
func (pl *Plan) PrintChoice(w io.Writer) error {
	c := pl.Choice
	if c == nil {
		return nil
	}
	b := &strings.Builder{}
	b.WriteString("\nMemory choice")
	if c.Limit > 0 {
		fmt.Fprintf(b, ", at most %s", Bytes(c.Limit))
	}
	b.WriteString("\n")
	rows := [][]string{{"frames", "depth", "memory", "fits", "extra forwards"}}
	for _, d := range c.Candidates {
		rows = append(rows, d.row())
	}
	table(b, rows...)
	_, err := io.WriteString(w, b.String())
	return err
}

// row is the candidate's row of the table.
func (c Candidate) row() []string {
	fits, chosen := "no", ""
	if c.Fits {
		fits = "yes"
	}
	if c.Chosen {
		chosen = "chosen"
	}
	return []string{c.Frames, fmt.Sprint(c.Depth), Bytes(c.Bytes), fits, fmt.Sprintf("+%.1f%%", c.Extra), chosen}
}
