package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime"
	"github.com/locorun/locorun/runtime/journal"
)

// finished is a run that saved its weights.
type finished struct {
	Dir  string `arg:"" name:"run" help:"Run directory, or a checkpoint in it."`
	Data string `placeholder:"DIR" help:"Directory of the data; default: where the program was."`
}

// open reads the run's program and its newest weights, or those of the
// checkpoint named.
func (f *finished) open(env *Env) (*model.Net, *runtime.Weights, string, error) {
	dir := f.Dir
	if strings.HasSuffix(dir, ".loco-ckpt") {
		dir = filepath.Dir(filepath.Dir(filepath.Clean(dir)))
	}
	about, err := journal.ReadAbout(dir)
	if err != nil {
		return nil, nil, "", wrongf("%s is no run directory: %w", dir, err)
	}
	p := program{File: filepath.Join(dir, "graph.loco"), settings: settings{Method: about.Method, Define: map[string]string{}}}
	for _, d := range about.Define {
		p.Define[d.Name] = d.Value
	}
	net, _, err := p.compile(env, false)
	if err != nil {
		return nil, nil, "", err
	}
	from, err := openCheckpoint(f.Dir, func(_ string, err error) { fmt.Fprintf(printer{env.Stderr}, "skipped: %v\n", err) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, "", wrongf("%s has no weights: no checkpoint has been saved", f.Dir)
	}
	if err != nil {
		return nil, nil, "", wrong{err}
	}
	data := f.Data
	if data == "" {
		data = about.DataDir()
	}
	return net, snapshotOf(from.content).Weights, data, nil
}
