package pipeline

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// TestTurns compares the lean order, and the programs of depth 2, of a chain
// with a stage in three units with a golden meant to be read.
func TestTurns(t *testing.T) {
	var b strings.Builder
	for _, md := range modes {
		s := md.of(named(chain(3, 2)))
		s.Micros = 2
		fmt.Fprintf(&b, "-- %s, lean --\n", md.name)
		for _, turn := range Turns(s) {
			indent := strings.Repeat("            ", turn.Unit)
			fmt.Fprintf(&b, "%s%s\n", indent, short(turn.Task))
		}
		s.Depth = 2
		for u, p := range compose(ptr(s.Roomy())).programs {
			fmt.Fprintf(&b, "-- %s, depth 2, %s --\n%s\n", md.name, s.Units[u].Name, list(s.Roomy(), p))
		}
	}
	const golden = "testdata/turns.txtar"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != b.String() {
		t.Errorf("the order has changed; run with -update and read the difference:\n%s", b.String())
	}
}

func ptr(s Spec) *Spec { return &s }

func short(t Task) string {
	if t.Kind == Sweep {
		return fmt.Sprintf("sweep%d %d", t.Event, t.Micro)
	}
	return fmt.Sprintf("%v %d", t.Kind, t.Micro)
}

func list(s Spec, program []step) string {
	p := build(s, make([]Unit, len(s.Units)), Hooks{})
	var lines []string
	for _, st := range program {
		switch st.do {
		case doRun:
			lines = append(lines, short(st.task))
		case doSend:
			lines = append(lines, fmt.Sprintf("  %s <- %d", p.links[st.at].name, st.task.Micro))
		case doRecv:
			lines = append(lines, fmt.Sprintf("  <- %s %d", p.links[st.at].name, st.task.Micro))
		default:
			name := map[action]string{doFeed: "feed", doClaim: "claim", doDecide: "decide", doClose: "close"}[st.do]
			lines = append(lines, fmt.Sprintf("  %s %d", name, st.task.Micro))
		}
	}
	return strings.Join(lines, "\n")
}
