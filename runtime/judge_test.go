package runtime

import (
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/cpu"
)

// readouts adds a readout of each kind on the first stage, due every epoch.
func readouts(n *model.Net) {
	view := []model.View{{Kind: "resize", H: 12, W: 12, P: 1}, {Kind: "centre", H: 12, W: 12, P: 1}}
	linear := model.Readout{Kind: "linear", On: []int{0}, Every: 1, TestView: view,
		Linear: model.LinearFit{LR: 0.1, Batch: 8, Epochs: 3}}
	knn := model.Readout{Kind: "knn", On: []int{0, 1}, Every: 1, TestView: view, KNN: model.KNN{K: 3, Temperature: 0.07}}
	n.Readouts = []model.Readout{linear, knn}
}

// pictures writes n pictures of each class, which differ from one another.
func pictures(t *testing.T, dir string, n int, classes ...string) {
	t.Helper()
	for c, class := range classes {
		if err := os.MkdirAll(filepath.Join(dir, class), 0o700); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			p := image.NewRGBA(image.Rect(0, 0, 12, 12))
			for k := range p.Pix {
				p.Pix[k] = uint8(37*c + (i+2)*k)
			}
			f := must(os.Create(filepath.Join(dir, class, fmt.Sprintf("%d.png", i))))(t)
			ok(t, png.Encode(f, p))
			ok(t, f.Close())
		}
	}
}

// folders reads train and test pictures below dir.
func folders(dir string) func(*model.Net) {
	return func(n *model.Net) {
		readouts(n)
		n.File = filepath.Join(dir, "tiny.loco")
		of := func(path string) *model.Source {
			return &model.Source{Kind: "folder", Paths: []string{path}}
		}
		n.Data.Train, n.Data.Test = of("train"), of("test")
		n.Data.Images = n.Data.Train
	}
}

func TestReadoutsHaveFloorsOfTheirOwn(t *testing.T) {
	net := tiny(2, [][2]int{{0, 1}}, func(n *model.Net) {
		readouts(n)
		blind := n.Readouts[0]
		blind.Linear.LR = 1e-30 // fits nothing
		n.Readouts = append(n.Readouts, blind)
	})
	res := train(t, net, nil)
	if len(res.Readouts) != 2*4 {
		t.Fatalf("%d readouts", len(res.Readouts))
	}
	first, second := res.Readouts[0], res.Readouts[3]
	if first.Index != 0 || second.Index != 2 || second.Kind != "linear" {
		t.Fatalf("the readouts are %d and %d", first.Index, second.Index)
	}
	if first.Random.Protocol == second.Random.Protocol || second.Random.Protocol != second.Trained.Protocol {
		t.Errorf("the floor of a readout is of another one: %s", second.Random.Protocol)
	}
}

func TestTurnsCountOn(t *testing.T) {
	net := tiny(2, [][2]int{{0, 0}, {1, 1}}, func(n *model.Net) { n.Train.InTurn = true; readouts(n) })
	var steps []int
	res := train(t, net, func(c *Config) {
		c.Events.Readout = func(r Readout) {
			if r.Kind == "linear" {
				steps = append(steps, 100*r.Epoch+r.Batch)
			}
		}
	})
	if want := []int{105, 210, 315, 420}; !slices.Equal(steps, want) {
		t.Errorf("epochs and batches of readouts are %v, want %v", steps, want)
	}
	if res.Batches != 20 || res.Weights.Batch != 20 {
		t.Errorf("%d batches, weights after %d", res.Batches, res.Weights.Batch)
	}
}

func TestClassesAreMatchedByName(t *testing.T) {
	dir := t.TempDir()
	pictures(t, filepath.Join(dir, "train"), 8, "ant", "bee", "cat")
	pictures(t, filepath.Join(dir, "test"), 8, "bee", "cat") // of the same bytes as ant, bee
	res := train(t, tiny(2, [][2]int{{0, 1}}, folders(dir)), nil)
	for _, r := range res.Readouts {
		if r.Kind == "knn" && r.Pixels.Top1 > 0.5 {
			t.Errorf("test pictures of bee look like ant's, yet %.2f of them are found to be bees", r.Pixels.Top1)
		}
	}
}

func TestDataWithoutLabels(t *testing.T) {
	cases := []struct {
		name string
		make func(t *testing.T, dir string, n *model.Net)
		want string
	}{
		{"no train", func(_ *testing.T, _ string, n *model.Net) { n.Data.Train = nil },
			"a readout needs `train` pictures with labels, and the data names none"},
		{"no test", func(_ *testing.T, _ string, n *model.Net) { n.Data.Test = nil },
			"a readout needs `test` pictures with labels, and the data names none"},
		{"unlabelled", func(t *testing.T, dir string, _ *model.Net) {
			ok(t, os.RemoveAll(filepath.Join(dir, "test")))
			pictures(t, dir, 8, "test")
		}, "the `test` pictures have no labels, which a readout needs; put each class into a folder of its own"},
		{"other classes", func(t *testing.T, dir string, _ *model.Net) { pictures(t, filepath.Join(dir, "test"), 1, "dog") },
			"the `test` pictures have class \"dog\": the training pictures have only ant, bee; a readout scores on the classes it was fitted on"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			pictures(t, filepath.Join(dir, "train"), 8, "ant", "bee")
			pictures(t, filepath.Join(dir, "test"), 4, "ant", "bee")
			net := tiny(2, [][2]int{{0, 1}}, folders(dir))
			c.make(t, dir, net)
			if _, err := attempt(t, net, nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// TestBrokenTestPictureEndsTraining wants the error before a long training is
// over, not after it.
func TestBrokenTestPictureEndsTraining(t *testing.T) {
	dir := t.TempDir()
	pictures(t, filepath.Join(dir, "train"), 8, "ant", "bee")
	pictures(t, filepath.Join(dir, "test"), 4, "ant", "bee")
	bad := filepath.Join(dir, "test", "bee", "3.png")
	text := must(os.ReadFile(bad))(t)
	ok(t, os.WriteFile(bad, text[:len(text)/2], 0o600))
	net := tiny(2, [][2]int{{0, 1}}, folders(dir))
	net.Train.Epochs = 1 << 20
	_, err := attempt(t, net, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "readout: "+bad+": ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the error is %v", err)
	}
}

// TestFloorSeesFewPictures has fewer training pictures than an encoder takes at
// a time otherwise.
func TestFloorSeesFewPictures(t *testing.T) {
	net := tiny(2, [][2]int{{0, 1}}, func(n *model.Net) {
		readouts(n)
		n.Train.Batch, n.Train.Microbatch = 40, 40
	})
	b := onCPU(t, cpu.Options{})
	defer b.Close()
	r := must(Prepare(Config{Net: net, Backend: b, Depth: 1}))(t)
	defer r.Close()
	e := must(newEncoder(r))(t)
	defer e.close()
	ok(t, e.load(must(r.initial())(t)))
	ok(t, e.statistics(t.Context()))
	for _, s := range must(read(e.prog, e.ir, func(p *ir.Param) bool { return strings.HasSuffix(p.Name, "running_mean") }))(t) {
		if slices.Equal(s.Data, make([]float32, len(s.Data))) {
			t.Errorf("%s did not move", s.Name)
		}
	}
}
