package dsl

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// fences gives the fenced blocks of a text whose info string is info.
func fences(text, info string) []string {
	var blocks []string
	for {
		_, rest, ok := strings.Cut(text, "\n```"+info+"\n")
		if !ok {
			return blocks
		}
		block, after, _ := strings.Cut(rest, "\n```\n")
		blocks = append(blocks, block+"\n")
		text = after
	}
}

func TestSpecIsRead(t *testing.T) {
	text, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	programs, fragments := fences(string(text), "loco"), fences(string(text), "loco fragment")
	if n := strings.Count(string(text), "```loco"); n != len(programs)+len(fragments) || len(programs) < 3 {
		t.Fatalf("%d blocks of which %d programs and %d fragments were found", n, len(programs), len(fragments))
	}
	for _, p := range programs {
		f, l := Parse("SPEC.md", []byte(p))
		if len(l) > 0 {
			t.Errorf("%v\n%s", l, p)
			continue
		}
		if f.Statements[0].Word.Text != "loco" {
			t.Errorf("a program that does not begin with loco:\n%s", p)
		}
		if got := string(Format(f)); got != p {
			t.Errorf("a program is not laid out as fmt would:\n%s", got)
		}
	}
	for _, p := range fragments {
		if _, l := Parse("SPEC.md", []byte(p)); len(l) > 0 {
			t.Errorf("%v\n%s", l, p)
		}
	}
	for _, c := range Codes() {
		if row := fmt.Sprintf("| %s | %s |\n", c.Code, c.Meaning); !strings.Contains(string(text), row) {
			t.Errorf("SPEC.md lacks the line %s", row)
		}
	}
}
