package cli

import (
	"fmt"
	"io"
	goruntime "runtime"
	"time"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/internal/measure"
	"github.com/locorun/locorun/runtime"
)

// benchViewsCmd times views.
type benchViewsCmd struct {
	program
	memoryFlags
	deviceFlags
	viewsFlag
	stepFlags
	Data    string        `placeholder:"DIR" help:"Directory of the data; default: beside the file."`
	Loaders int           `default:"-1" help:"Goroutines that decode and augment pictures; -1: as many as training takes, one less than there are cores, at least 1."`
	Rounds  int           `default:"3" help:"Pairs of training with and without views."`
	Time    time.Duration `default:"500ms" help:"How long views alone are made."`
	JSON    bool          `help:"Print JSON."`
}

// Help shows an example.
func (benchViewsCmd) Help() string {
	return "Example:\n  locorun bench views --steps 50 examples/quickstart.loco\n\n" +
		"First views alone, then pairs of trainings, one on noise that was written once and one on views of the data, the same steps otherwise. " +
		"Two views are made of each image. Where a device makes them, the first number is of decoding alone."
}

// viewsResult is what is measured of views.
type viewsResult struct {
	File    string `json:"file"`
	Method  string `json:"method"`
	Tier    string `json:"tier"`
	Workers int    `json:"workers"`
	Loaders int    `json:"loaders"`
	Views   string `json:"views"` // made on the host or the device

	One       float64 `json:"loaded_images_per_second_of_one"` // worker, alone
	Loaded    float64 `json:"loaded_images_per_second"`        // of all, nothing else running
	PerLoader float64 `json:"loaded_images_per_second_per_loader"`

	Rounds []viewsRound `json:"rounds"`
	Ratio  float64      `json:"ratio"` // median over the rounds
	Low    float64      `json:"ratio_low"`
	High   float64      `json:"ratio_high"`
}

// viewsRound is a pair of trainings.
type viewsRound struct {
	Made  float64 `json:"step_images_per_second"`     // on noise
	Real  float64 `json:"training_images_per_second"` // on views
	Ratio float64 `json:"ratio"`
	Wait  float64 `json:"data_wait_share"` // of the time of training on views
}

// Run times views.
func (c *benchViewsCmd) Run(env *Env) error {
	net, _, err := c.compile(env, false)
	if err != nil {
		return err
	}
	backend, err := c.open(env, net.Train.Precision)
	if err != nil {
		return err
	}
	defer backend.Close()
	trial, err := c.trial(net, backend)
	if err != nil {
		return err
	}
	res := &viewsResult{File: c.File, Method: c.Method, Tier: backend.Name(), Workers: c.count(), Loaders: trial.Workers, Views: "host"}
	if trial.DeviceViews {
		res.Views = "device"
	}
	if err := c.load(env, trial, res); err != nil {
		return wrong{err}
	}
	for range c.Rounds {
		round, err := c.round(env, *trial)
		if err != nil {
			return err
		}
		res.Rounds = append(res.Rounds, round)
	}
	if res.settle(); c.JSON {
		return printJSON(env.Stdout, res)
	}
	res.print(env.Stdout)
	return nil
}

// trial is what is tried of a net.
func (c *benchViewsCmd) trial(net *model.Net, b device.Backend) (*runtime.Trial, error) {
	if err := c.valid(); err != nil {
		return nil, err
	}
	if c.Rounds < 1 || c.Time < 0 || c.Loaders < -1 {
		return nil, wrongf("--rounds %d --time %v --loaders %d: at least one round, no time or number below 0", c.Rounds, c.Time, c.Loaders)
	}
	loaders := dataFlags{Workers: c.Loaders}.count()
	onDevice, err := c.onDevice(net, b)
	if err != nil {
		return nil, err
	}
	opt, _, err := c.choose(net, loaders, b)
	cfg := runtime.Config{
		Net: net, Backend: b, DataDir: c.Data, Workers: loaders, Depth: opt.Depth, Recompute: opt.Recompute, DeviceViews: onDevice,
	}
	return &runtime.Trial{Config: cfg, Batches: c.Warmup + c.Steps}, err
}

// load times the loader alone, with one worker and with all.
func (c *benchViewsCmd) load(env *Env, t *runtime.Trial, res *viewsResult) (err error) {
	one := *t
	one.Workers = 1
	if res.One, err = one.Loading(env.Context, c.Time); err != nil {
		return err
	}
	if res.Loaded, err = t.Loading(env.Context, c.Time); err != nil {
		return err
	}
	res.PerLoader = res.Loaded / float64(max(1, t.Workers))
	return nil
}

// round trains on noise, then on views.
func (c *benchViewsCmd) round(env *Env, t runtime.Trial) (r viewsRound, err error) {
	if r.Made, _, err = c.train(env, t); err != nil {
		return r, err
	}
	var seconds, waited float64
	t.Views = true
	bottom := t.Net.Units[0].Name
	t.Events.Batch = func(b runtime.BatchReport) {
		if b.Unit == bottom && b.Batch >= c.Warmup {
			waited += b.Seconds.Data
		}
	}
	if r.Real, seconds, err = c.train(env, t); err != nil {
		return r, err
	}
	r.Ratio, r.Wait = r.Real/r.Made, waited/seconds
	return r, nil
}

// train gives the images a second over all timed steps, which take seconds.
func (c *benchViewsCmd) train(env *Env, t runtime.Trial) (rate, seconds float64, err error) {
	goruntime.GC() // what the training before left
	tried, err := t.Run(env.Context)
	if err != nil {
		return 0, 0, err
	}
	for _, s := range tried.Seconds[c.Warmup:] {
		seconds += s
	}
	return float64(c.Steps*t.Net.Train.Batch) / seconds, seconds, nil
}

// settle takes the median of the ratios.
func (r *viewsResult) settle() {
	var ratios []float64
	for _, x := range r.Rounds {
		ratios = append(ratios, x.Ratio)
	}
	s := measure.Summarise(ratios)
	r.Ratio, r.Low, r.High = s.Median, s.Low, s.High
}

// print writes the result for people.
func (r *viewsResult) print(w io.Writer) {
	fmt.Fprintf(w, "%s  method %s  %s, %d workers, %d loaders\n", r.File, r.Method, r.Tier, r.Workers, r.Loaders)
	alone := "views alone, two of each image"
	if r.Views == "device" {
		alone = "decoding and drawing alone, views being made on the device"
	}
	fmt.Fprintf(w, "%s: %.4g images/s of one loader; of %d: %.4g, each %.4g\n", alone, r.One, r.Loaders, r.Loaded, r.PerLoader)
	for i, x := range r.Rounds {
		fmt.Fprintf(w, "round %d  training on views %.4g images/s, on noise written once %.4g: ratio %.3f; %s of the time waiting for views\n",
			i+1, x.Real, x.Made, x.Ratio, percent(x.Wait))
	}
	fmt.Fprintf(w, "ratio    median %.3f, %.3f to %.3f\n", r.Ratio, r.Low, r.High)
}
