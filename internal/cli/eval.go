package cli

import (
	"encoding/json"
	"fmt"

	"github.com/locorun/locorun/runtime"
)

// evalCmd runs the readouts of a finished run.
type evalCmd struct {
	finished
	tierFlag
	Workers int  `default:"1" help:"Goroutines that decode pictures."`
	JSON    bool `help:"One JSON object per readout."`
}

// Help shows an example.
func (evalCmd) Help() string { return "Example:\n  locorun eval runs/quickstart-1" }

// Run judges the weights.
func (c *evalCmd) Run(env *Env) error {
	net, w, data, err := c.open(env)
	if err != nil {
		return err
	}
	if len(net.Readouts) == 0 {
		return wrongf("%s declares no readout", net.File)
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
	rs, err := run.Judge(env.Context, w)
	if err != nil {
		return err
	}
	if !c.JSON {
		printReadouts(env.Stdout, rs)
		return nil
	}
	for _, r := range rs {
		line, err := json.Marshal(map[string]any{
			"readout": r.Kind, "stage": r.Stage, "accuracy": r.Trained.Top1,
			"random_encoder": r.Random.Top1, "raw_pixels": r.Pixels.Top1, "protocol": r.Trained.Protocol,
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(env.Stdout, "%s\n", line)
	}
	return nil
}
