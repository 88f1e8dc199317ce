package check

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
	"github.com/locorun/locorun/graphs/std"
)

// torchvision lists the modules with weights of torchvision's ResNet, but fc:
// the stem, then for each layer its blocks with their convolutions and norms,
// and in the first block of a layer that changes the shape a downsample.
func torchvision(blocks [4]int, convs int, projectsFirst bool) []string {
	names := []string{"conv1", "bn1"}
	for i, n := range blocks {
		for b := range n {
			at := fmt.Sprintf("layer%d.%d.", i+1, b)
			for k := range convs {
				names = append(names, fmt.Sprintf("%sconv%d", at, k+1), fmt.Sprintf("%sbn%d", at, k+1))
			}
			if b == 0 && (i > 0 || projectsFirst) {
				names = append(names, at+"downsample.0", at+"downsample.1")
			}
		}
	}
	slices.Sort(names)
	return names
}

func exportsOf(layers []*model.Layer) []string {
	var names []string
	for _, l := range layers {
		if l.Export != "" {
			names = append(names, l.Export)
		}
		for _, b := range l.Branches {
			names = append(names, exportsOf(b.Layers)...)
		}
	}
	return names
}

// TestTorchvision checks that ResNets are exported under torchvision's names,
// all of them and no others.
func TestTorchvision(t *testing.T) {
	for name, want := range map[string][]string{
		"resnet18": torchvision([4]int{2, 2, 2, 2}, 2, false),
		"resnet50": torchvision([4]int{3, 4, 6, 3}, 3, true),
	} {
		t.Run(name, func(t *testing.T) {
			src, err := os.ReadFile(filepath.Join("../../examples/paper", name+".loco"))
			if err != nil {
				t.Fatal(err)
			}
			f, _ := dsl.Parse(name, src)
			net, list := Check(f, Options{Std: std.Files})
			if net == nil {
				t.Fatal(list)
			}
			var got []string
			for _, s := range net.Stages {
				got = append(got, exportsOf(s.Layers)...)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("got %v\nwant %v", got, want)
			}
		})
	}
}

// TestWidths checks the maps behind each stage against the networks' tables.
func TestWidths(t *testing.T) {
	for name, want := range map[string]string{
		"shufflenet50": "56x56x244 28x28x488 14x14x976 7x7x2048",
		"presnet50":    "56x56x56 36x36x96 24x24x576 16x16x1024 12x12x2048 8x8x4096",
		"resnet50":     "56x56x256 28x28x512 14x14x1024 7x7x2048",
	} {
		t.Run(name, func(t *testing.T) {
			src, err := os.ReadFile(filepath.Join("../../examples/paper", name+".loco"))
			if err != nil {
				t.Fatal(err)
			}
			f, _ := dsl.Parse(name, src)
			net, list := Check(f, Options{Std: std.Files})
			if net == nil {
				t.Fatal(list)
			}
			var got []string
			for _, s := range net.Stages {
				got = append(got, shown(s.Out))
			}
			if strings.Join(got, " ") != want {
				t.Errorf("got %v, want %s", got, want)
			}
		})
	}
}

// TestLibrary checks the text of every file of the library, called or not.
func TestLibrary(t *testing.T) {
	files, err := filepath.Glob("../../graphs/std/*.loco")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			// As a root file it only lacks what every program has.
			f, list := dsl.Parse(filepath.Base(path), src)
			if len(list) > 0 {
				t.Fatal(list)
			}
			_, list = Check(f, Options{Std: std.Files})
			for _, d := range list {
				if d.Code != codeMissing {
					t.Errorf("%s", diag.List{d}.Error())
				}
			}
		})
	}
}
