package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/runtime"
	"github.com/locorun/locorun/runtime/export"
)

// exportCmd writes the encoder for other tools.
type exportCmd struct {
	finished
	To string `short:"o" default:"encoder.safetensors" help:"File to write."`
}

// Help shows an example.
func (exportCmd) Help() string {
	return "Example:\n  locorun export -o encoder.safetensors runs/resnet18-1\n\nNames and layouts are PyTorch's: with stages written `as layer1` .. `as layer4`, torchvision's ResNet loads the file with strict=False, missing only fc.*"
}

// Run writes the file.
func (c *exportCmd) Run(env *Env) error {
	net, w, _, err := c.open(env)
	if err != nil {
		return err
	}
	p, err := lower.Encoder(net, 1)
	if err != nil {
		return err
	}
	var ts []export.Tensor
	for _, q := range p.Params {
		t, ok := w.Get(q.Name)
		if !ok {
			return fmt.Errorf("the weights have no %s", q.Name)
		}
		t.Export = q.Export
		ts = append(ts, torch(t))
	}
	slices.SortFunc(ts, func(a, b export.Tensor) int { return strings.Compare(a.Name, b.Name) })
	meta := map[string]string{"format": "pt", "producer": "locorun", "program": net.File, "method": net.Method}
	if err := writeFile(c.To, func(o io.Writer) error { return export.WriteSafetensors(o, ts, meta) }); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "wrote %s: %d tensors of the encoder\n", c.To, len(ts))
	return nil
}

// torch brings a tensor into PyTorch's layout: convolution weights from
// [out, height, width, in] to [out, in, height, width].
func torch(t runtime.Tensor) export.Tensor {
	out := export.Tensor{Name: t.Export, DType: export.F32, Shape: t.Shape, Data: t.Data}
	if s := t.Shape; len(s) == 4 {
		out.Shape = []int{s[0], s[3], s[1], s[2]}
		out.Data = export.OHWIToOIHW(t.Data, s[0], s[1], s[2], s[3])
	}
	return out
}
