package metrics

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the goldens in testdata")

func TestGenerated(t *testing.T) {
	for _, g := range []struct{ file, text string }{
		{"metrics.md", Doc()},
		{"dashboard.json", Dashboard()},
		{"rules.yml", Rules()},
	} {
		t.Run(g.file, func(t *testing.T) {
			path := filepath.Join("testdata", g.file)
			if *update {
				if err := os.WriteFile(path, []byte(g.text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if g.text != string(want) {
				t.Errorf("%s is out of date; go test -update writes it anew\n%s", path, g.text)
			}
		})
	}
}

func TestRowsAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range Rows() {
		if seen[row.Name] {
			t.Errorf("%s is there twice", row.Name)
		}
		seen[row.Name] = true
		if row.Help == "" || !strings.HasSuffix(row.Help, ".") || row.Source == "" || row.Group == "" || row.Unit == "" {
			t.Errorf("%s lacks help ending in a full stop, source, group or unit: %+v", row.Name, row)
		}
		if (row.Kind == Counter) != strings.HasSuffix(row.Name, "_total") {
			t.Errorf("%s is a %s", row.Name, row.Kind)
		}
	}
}

// TestDesignNames: the names promised to users, one by one.
func TestDesignNames(t *testing.T) {
	promised := strings.Fields(`unit_microbatches_total unit_images_total unit_step_seconds
		unit_wait_seconds_total unit_device_seconds_total unit_loss unit_embedding_std unit_effective_rank unit_learning_rate
		unit_gradient_norm stage_gradient_norm stage_gradient_cosine stage_weight_norm channel_length
		channel_capacity images_total flops_total peak_flops memory_bytes readout_accuracy_ratio
		checkpoint_last_success_timestamp_seconds checkpoint_failures_total errors_total
		last_step_timestamp_seconds build_info run_info
		device_kernels_ratio device_memory_ratio
		scrapes_total checkpoint_last_step resumed_from_step`)
	var have []string
	for _, row := range Rows() {
		have = append(have, row.Name)
	}
	slices.Sort(promised)
	slices.Sort(have)
	if !slices.Equal(promised, have) {
		t.Errorf("the table has\n%v\nwant\n%v", have, promised)
	}
}

// TestAlertsRestOnTheTable: an alert speaks of metrics and labels that exist.
func TestAlertsRestOnTheTable(t *testing.T) {
	name := regexp.MustCompile(`locorun_[a-z_]+`)
	label := regexp.MustCompile(`\$labels\.([a-z]+)`)
	for _, row := range Rows() {
		for _, a := range row.Alerts {
			for _, n := range name.FindAllString(a.Expr, -1) {
				if n != Prefix+row.Name {
					t.Errorf("%s speaks of %s, its row is %s", a.Name, n, row.Name)
				}
			}
			for _, l := range label.FindAllStringSubmatch(a.Summary, -1) {
				if !slices.Contains(row.Labels, l[1]) {
					t.Errorf("%s uses label %s, which %s does not have", a.Name, l[1], row.Name)
				}
			}
			if a.Expr == "" || a.For == "" || a.Severity == "" || a.Summary == "" || a.Remedy == "" {
				t.Errorf("%s is not whole: %+v", a.Name, a)
			}
		}
	}
}

func TestDashboardShowsEveryRow(t *testing.T) {
	var d struct {
		Panels []struct {
			ID      int
			Type    string
			GridPos struct{ H, W, X, Y int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(Dashboard()), &d); err != nil {
		t.Fatal(err)
	}
	all := ""
	ids := map[int]bool{}
	cells := map[[2]int]int{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			all += target.Expr + "\n"
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				cell := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, taken := cells[cell]; taken {
					t.Fatalf("panels %d and %d overlap", other, p.ID)
				}
				cells[cell] = p.ID
			}
		}
	}
	for _, row := range Rows() {
		if !strings.Contains(all, Prefix+row.Name) {
			t.Errorf("no panel shows %s", row.Name)
		}
	}
}
