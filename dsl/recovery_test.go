package dsl

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestOneMessagePerBrokenLine breaks every line of the programs of SPEC.md in
// several ways: there is one message, about that line, and with a second line
// broken as well there are two.
func TestOneMessagePerBrokenLine(t *testing.T) {
	text, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	breaks := []struct {
		name string
		on   func(line string) bool
		by   func(line string) string
	}{
		{"junk", anyLine, func(s string) string { return s + " $" }},
		{"a stray bracket", anyLine, func(s string) string { return s + " )" }},
		{"an open string", anyLine, func(s string) string { return s + ` "x` }},
		{"an operator at the end", anyLine, func(s string) string { return s + "; a +" }},
		{"two equals signs", has("="), func(s string) string { return strings.Replace(s, "=", "==", 1) }},
		{"a capital letter", anyLine, func(s string) string { return s + "; Conv" }},
		{"no closing parenthesis", has(")"), func(s string) string { return strings.Replace(s, ")", "", 1) }},
		{"no opening parenthesis", has("("), func(s string) string { return strings.Replace(s, "(", " ", 1) }},
		{"no closing bracket", has("]"), func(s string) string { return strings.Replace(s, "]", "", 1) }},
	}
	for _, program := range fences(string(text), "loco") {
		lines := strings.Split(strings.TrimSuffix(program, "\n"), "\n")
		for _, b := range breaks {
			before := 0 // a line broken before
			for i, line := range lines {
				if !plain(line) || !b.on(line) {
					continue
				}
				expectBroken(t, b.name, lines, b.by, i)
				if before > 0 {
					expectBroken(t, b.name, lines, b.by, before, i)
				}
				before = i
			}
		}
	}
}

func anyLine(string) bool { return true }

func has(sign string) func(string) bool {
	return func(line string) bool { return strings.Contains(line, sign) }
}

// plain reports whether a line is one statement and no part of another.
func plain(line string) bool {
	return strings.TrimSpace(line) != "" && !strings.ContainsAny(line, "{};") && !strings.Contains(line, "//")
}

func expectBroken(t *testing.T, name string, lines []string, by func(string) string, broken ...int) {
	t.Helper()
	changed := append([]string(nil), lines...)
	for _, i := range broken {
		changed[i] = by(changed[i])
	}
	_, l := Parse("x.loco", []byte(strings.Join(changed, "\n")))
	var want, got []string
	for _, i := range broken {
		want = append(want, fmt.Sprint(i+1))
	}
	for _, d := range l {
		got = append(got, fmt.Sprint(d.Range.Start.Line))
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s in lines %v, messages in lines %v:\n%s\n%v", name, want, got, changed[broken[0]], l)
	}
}
