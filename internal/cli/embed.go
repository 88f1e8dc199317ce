package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime"
	"github.com/locorun/locorun/runtime/export"
	"github.com/locorun/locorun/runtime/readout"
)

// embedCmd writes features.
type embedCmd struct {
	finished
	tierFlag
	Stage    string `help:"Stage whose mean-pooled map is written; default: the last."`
	Of       string `enum:"images,train,test" default:"test" help:"Which pictures."`
	To       string `short:"o" default:"features.npy" help:"File of the features, [pictures, channels] float32; labels go beside it, NAME.labels.npy."`
	Pictures string `placeholder:"FILE" help:"Also write the pictures as the encoder sees them, [pictures, channels, height, width] float32 .npy."`
	Workers  int    `default:"1" help:"Goroutines that decode pictures."`
}

// Help shows an example.
func (embedCmd) Help() string {
	return "Example:\n  locorun embed --stage s3 -o s3.npy runs/quickstart-1"
}

// Run writes the features.
func (c *embedCmd) Run(env *Env) error {
	net, w, data, err := c.open(env)
	if err != nil {
		return err
	}
	stage, err := c.stage(net)
	if err != nil {
		return err
	}
	backend, err := c.tierFlag.backend()
	if err != nil {
		return err
	}
	defer backend.Close()
	run, err := runtime.Prepare(runtime.Config{Net: net, Backend: backend, DataDir: data, Workers: c.Workers, Depth: 1})
	if err != nil {
		return wrong{err}
	}
	defer run.Close()
	var pixels []float32
	saw := func(p []float32) { pixels = append(pixels, p...) }
	if c.Pictures == "" {
		saw = nil
	}
	f, err := run.Embed(env.Context, w, c.Of, stage, saw)
	if err != nil {
		return err
	}
	if err := c.write(&f, net.Input, pixels); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "wrote %s: %d pictures, %d features of %s; labels in %s\n", c.To, f.N, f.D, net.Stages[stage].Name, c.beside())
	return nil
}

// stage is the index of the stage asked for.
func (c *embedCmd) stage(net *model.Net) (int, error) {
	if c.Stage == "" {
		return len(net.Stages) - 1, nil
	}
	var names []string
	for i, s := range net.Stages {
		if s.Name == c.Stage {
			return i, nil
		}
		names = append(names, s.Name)
	}
	return 0, wrongf("no stage is called %q; stages are %s", c.Stage, strings.Join(names, ", "))
}

// beside is the file of the labels.
func (c *embedCmd) beside() string { return strings.TrimSuffix(c.To, ".npy") + ".labels.npy" }

// write writes the features, their labels, and the pictures where asked for.
func (c *embedCmd) write(f *readout.Features, in model.Shape, pixels []float32) error {
	if c.Pictures != "" {
		nchw := export.NHWCToNCHW(pixels, f.N, in.H, in.W, in.C)
		if err := writeNpy(c.Pictures, []int{f.N, in.C, in.H, in.W}, nchw); err != nil {
			return err
		}
	}
	labels := make([]int64, f.N)
	for i, l := range f.Labels {
		labels[i] = int64(l)
	}
	if err := writeNpy(c.To, []int{f.N, f.D}, f.X); err != nil {
		return err
	}
	return writeNpy(c.beside(), []int{f.N}, labels)
}

func writeNpy[T float32 | int64](name string, shape []int, data []T) error {
	return writeFile(name, func(o io.Writer) error { return export.WriteNpy(o, shape, data) })
}
