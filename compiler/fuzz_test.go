package compiler_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler"
	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/dsl/diag"
	"github.com/locorun/locorun/graphs/std"
	"github.com/rogpeppe/go-internal/txtar"
)

// What a fuzzed program may have at most to be lowered: a legal program may have
// many more layers and take seconds, which tells nothing that a small one does
// not.
const (
	mostLayers = 300  // of all stages and decoders
	mostTurns  = 8    // units that train in turn
	mostMicros = 1024 // microbatches in a batch
)

var methods = []string{"loco", "gim", "e2e"}

// FuzzCompile compiles any text as every method. It ends soon, without a panic,
// and gives a net exactly where it finds no error; every place lies in the file
// it names. A net of small size is lowered in every way of holding frames: the
// program holds what ir.Verify asks for, its plan prints, and all of it is the
// same when done again.
func FuzzCompile(f *testing.F) {
	for _, text := range seeds(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		start := time.Now()
		for _, method := range methods {
			net, found := compileText(text, method)
			checkFound(t, text, net, found)
			if net == nil || layers(net) > mostLayers || net.Train.Batch/net.Train.Microbatch > mostMicros ||
				net.Train.InTurn && len(net.Units) > mostTurns {
				continue
			}
			again, _ := compileText(text, method)
			for _, opt := range []lower.Options{{}, {Depth: 3}, {Recompute: true}, {Depth: 2, Recompute: true}} {
				checkLowered(t, net, again, opt)
			}
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%d bytes took %v", len(text), took)
		}
	})
}

// seeds are the programs of the checker's tests and the examples.
func seeds(f *testing.F) (texts []string) {
	read := func(pattern string, add func(text []byte)) {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			f.Fatalf("%s: %d files, %v", pattern, len(paths), err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			add(text)
		}
	}
	for _, pattern := range []string{"check/testdata/good/*.txtar", "check/testdata/wrong/*.txtar"} {
		read(pattern, func(text []byte) { texts = append(texts, string(txtar.Parse(text).Files[0].Data)) })
	}
	read("../examples/*.loco", func(text []byte) { texts = append(texts, string(text)) })
	return texts
}

func compileText(text, method string) (*model.Net, diag.List) {
	defines := map[string]string{}
	if strings.Contains(text, "param width") { // else -D width would be an error
		defines["width"] = "8"
	}
	return compiler.Compile("fuzz.loco", []byte(text), compiler.Options{
		Method: method, Std: std.Files, Defines: defines,
		Read: func(name string) ([]byte, error) {
			if name == "self.loco" {
				return []byte(text), nil
			}
			return nil, fs.ErrNotExist
		},
	})
}

// checkFound holds diagnostics to what is promised of them.
func checkFound(t *testing.T, text string, net *model.Net, found diag.List) {
	t.Helper()
	if (net == nil) != found.HasErrors() {
		t.Error("a net beside errors, or none without")
	}
	for _, d := range found {
		if d.Code == "" || d.Message == "" || d.Severity == 0 {
			t.Errorf("an incomplete diagnostic: %+v", d)
		}
		for _, n := range append([]diag.Note{{Range: d.Range}}, d.Notes...) {
			if r := n.Range; r.File == "fuzz.loco" && (r.Start.Offset > r.End.Offset || r.End.Offset > len(text)) {
				t.Errorf("%s: the place %+v is outside the file of %d bytes", d.Code, r, len(text))
			}
		}
	}
}

func layers(net *model.Net) (n int) {
	for _, s := range net.Stages {
		n += layersOf(s.Layers)
	}
	for _, u := range net.Units {
		n += layersOf(u.Decoder.Layers)
	}
	for _, w := range net.Watches {
		n += layersOf(w.Decoder.Layers)
	}
	return n
}

func layersOf(list []*model.Layer) (n int) {
	for _, l := range list {
		n++
		for _, b := range l.Branches {
			n += layersOf(b.Layers)
		}
	}
	return n
}

// checkLowered lowers two nets of one text and compares.
func checkLowered(t *testing.T, net, again *model.Net, opt lower.Options) {
	t.Helper()
	a, b := lowered(t, net, opt), lowered(t, again, opt)
	if !bytes.Equal(a, b) {
		t.Errorf("method %s, %+v: compiled again, another program\n%s\n%s", net.Method, opt, a, b)
	}
}

// lowered is the print of all programs and of their plan.
func lowered(t *testing.T, net *model.Net, opt lower.Options) []byte {
	t.Helper()
	turns, err := lower.Turns(net, opt)
	if err != nil {
		t.Fatalf("method %s, %+v: a net without errors is not lowered: %v", net.Method, opt, err)
	}
	var out bytes.Buffer
	for _, p := range turns {
		checkProgram(t, net, p)
		if err := p.Print(&out); err != nil {
			t.Fatal(err)
		}
	}
	if err := plan.Turns(net, turns, 0).Print(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func checkProgram(t *testing.T, net *model.Net, p *ir.Program) {
	t.Helper()
	if err := p.Verify(); err != nil {
		t.Errorf("method %s, depth %d: %v", net.Method, p.Depth, err)
	}
	for _, s := range ir.Spaces() {
		if p.Sizes[s] < 0 {
			t.Errorf("%s has %d bytes", s, p.Sizes[s])
		}
	}
	for i := range p.Values {
		v := &p.Values[i]
		if end := v.Offset + v.Stride*int64(v.Slots-1) + v.Bytes(); v.Offset < 0 || v.Bytes() < 1 || end > p.Sizes[v.Space] {
			t.Errorf("value %s: bytes %d to %d of a %s of %d", v.Name, v.Offset, end, v.Space, p.Sizes[v.Space])
		}
	}
}
