package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime"
	"github.com/locorun/locorun/runtime/disk"
	"github.com/locorun/locorun/runtime/export"
	"github.com/locorun/locorun/runtime/journal"
)

// checkpointName is the place of the weights after a number of batches.
func checkpointName(batch int) string {
	return fmt.Sprintf("checkpoints/step-%08d.loco-ckpt", batch)
}

// saveWeights writes the weights into the run directory, as safetensors whose
// layouts are the op table's.
func saveWeights(j *journal.Run, w *runtime.Weights, batch int, c *runCmd, r *runtime.Run) (string, error) {
	path := filepath.Join(j.Dir(), filepath.FromSlash(checkpointName(batch)))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	norm, err := json.Marshal(r.Norm())
	if err != nil {
		return "", err
	}
	meta := map[string]string{"format": "locorun weights 1", "method": c.Method, "step": fmt.Sprint(batch), "normalise": string(norm)}
	var ts []export.Tensor
	for _, t := range w.Tensors {
		ts = append(ts, export.Tensor{Name: t.Name, Shape: t.Shape, DType: export.F32, Data: t.Data})
	}
	return path, disk.WritePath(path, func(out io.Writer) error { return export.WriteSafetensors(out, ts, meta) })
}

// finished is the run directory of a run that saved its weights.
type finished struct {
	Dir  string `arg:"" name:"run" help:"Run directory."`
	Data string `placeholder:"DIR" help:"Directory of the data; default: where the program was."`
}

// open reads the run's program and its newest weights.
func (f *finished) open(env *Env) (*model.Net, *runtime.Weights, string, error) {
	var about journal.About
	text, err := os.ReadFile(filepath.Join(f.Dir, "run.json"))
	if err != nil {
		return nil, nil, "", wrongf("%s is no run directory: %w", f.Dir, readable(err))
	}
	if err := json.Unmarshal(text, &about); err != nil {
		return nil, nil, "", wrongf("%s: run.json: %w", f.Dir, err)
	}
	p := program{File: filepath.Join(f.Dir, "graph.loco"), Method: about.Method, Define: map[string]string{}}
	for _, d := range about.Define {
		p.Define[d.Name] = d.Value
	}
	net, _, err := p.compile(env, false)
	if err != nil {
		return nil, nil, "", err
	}
	w, err := f.weights()
	if err != nil {
		return nil, nil, "", err
	}
	data := f.Data
	if data == "" {
		data = filepath.Dir(about.File)
	}
	return net, w, data, nil
}

// weights reads the newest checkpoint.
func (f *finished) weights() (*runtime.Weights, error) {
	dir := filepath.Join(f.Dir, "checkpoints")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, wrong{readable(err)}
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".loco-ckpt") {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return nil, wrongf("%s has no weights: its run has not ended", f.Dir)
	}
	return readWeights(filepath.Join(dir, slices.Max(names)))
}

// readWeights reads one checkpoint.
func readWeights(path string) (*runtime.Weights, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, wrong{readable(err)}
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	ts, _, err := export.ReadSafetensors(file, info.Size())
	if err != nil {
		return nil, wrongf("%s: %w", path, err)
	}
	w := &runtime.Weights{}
	for _, t := range ts {
		w.Add(runtime.Tensor{Name: t.Name, Shape: t.Shape, Data: t.Data})
	}
	return w, nil
}
