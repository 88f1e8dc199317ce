package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDependenciesHaveReasons compares the modules that go.mod requires directly
// with the table of ARCHITECTURE.md. A module that is listed but not imported is
// a pin; it stands in go.mod as an indirect requirement.
func TestDependenciesHaveReasons(t *testing.T) {
	direct, all := required(t)
	listed := reasons(t)
	for _, m := range direct {
		if !slices.Contains(listed, m) {
			t.Errorf("go.mod requires %s, for which ARCHITECTURE.md gives no reason", m)
		}
	}
	for _, m := range listed {
		if !slices.Contains(all, m) {
			t.Errorf("ARCHITECTURE.md gives a reason for %s, which go.mod does not require", m)
		}
	}
	if len(direct) < 10 || len(listed) < 10 {
		t.Errorf("%d modules in go.mod, %d in the table: one of them was not read", len(direct), len(listed))
	}
}

// required reads go.mod.
func required(t *testing.T) (direct, all []string) {
	t.Helper()
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\s+(\S+\.\S+) (v\S+)( // indirect)?$`).FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1])
		if m[3] == "" {
			direct = append(direct, m[1])
		}
	}
	return direct, all
}

// reasons reads the first column of the table of dependencies.
func reasons(t *testing.T) (modules []string) {
	t.Helper()
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Dependencies\n")
	section, _, _ = strings.Cut(section, "\n## ")
	name := regexp.MustCompile("`([^`]+)`")
	for _, line := range strings.Split(section, "\n") {
		if cells := strings.Split(line, "|"); len(cells) == 4 {
			if strings.TrimSpace(cells[2]) == "" {
				t.Errorf("no reason: %s", line)
			}
			for _, m := range name.FindAllStringSubmatch(cells[1], -1) {
				modules = append(modules, m[1])
			}
		}
	}
	return modules
}
