package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/locorun/locorun/runtime"
	"github.com/locorun/locorun/runtime/journal"
)

// inspectCmd shows a checkpoint.
type inspectCmd struct {
	Path    string `arg:"" name:"checkpoint" help:"Checkpoint file, or a run directory: its newest checkpoint."`
	Tensors bool   `help:"Also list every tensor."`
	Plan    bool   `help:"Also print the plan of the run that it lies in."`
	JSON    bool   `help:"One JSON object."`
}

// Help shows an example.
func (inspectCmd) Help() string {
	return "Examples:\n  locorun inspect runs/quickstart-1\n  locorun inspect --tensors runs/quickstart-1/checkpoints/step-00000240.loco-ckpt\n\nA checkpoint is a safetensors file that carries its own SHA-256; its tensors are in locorun's layouts ('locorun export' writes PyTorch's)."
}

// inspection is what is shown.
type inspection struct {
	File        string          `json:"file"`
	Bytes       int64           `json:"bytes"`
	SHA256      string          `json:"sha256"` // of the file as it is, as sha256sum prints it
	Step        int             `json:"step"`
	Program     string          `json:"program"`
	Method      string          `json:"method"`
	Device      string          `json:"device"`
	Version     string          `json:"version"`
	Fingerprint string          `json:"fingerprint"`
	Normalise   json.RawMessage `json:"normalise,omitempty"`
	Meaning     []runtime.Fact  `json:"meaning"`
	Sites       []siteSum       `json:"sites"`
	Tensors     []tensorSum     `json:"tensors,omitempty"`
	Plan        string          `json:"plan,omitempty"`
}

// siteSum sums up a stage or decoder.
type siteSum struct {
	Name       string         `json:"name"`
	Parameters int            `json:"parameters"`
	Norm       journal.Number `json:"norm"`       // of the weights
	Statistics int            `json:"statistics"` // values of running statistics
	State      int            `json:"state"`      // values that the optimiser keeps
	StateNorm  journal.Number `json:"state_norm"`
}

type tensorSum struct {
	Name  string         `json:"name"`
	Shape []int          `json:"shape"`
	Norm  journal.Number `json:"norm"`
	Mean  journal.Number `json:"mean"`
	Most  journal.Number `json:"most"` // largest absolute value
}

// Run shows it.
func (c *inspectCmd) Run(env *Env) error {
	from, err := openCheckpoint(c.Path, func(_ string, err error) { fmt.Fprintf(printer{env.Stderr}, "skipped: %v\n", err) })
	if errors.Is(err, fs.ErrNotExist) {
		return wrongf("%w; name a checkpoint file, or the directory of a run that saved one", err)
	}
	if err != nil {
		return wrong{err}
	}
	in, err := inspect(from)
	if err != nil {
		return wrong{err}
	}
	if c.Plan {
		in.Plan = planBeside(from.path)
	}
	if c.JSON {
		if !c.Tensors {
			in.Tensors = nil
		}
		e := json.NewEncoder(env.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(in)
	}
	return c.print(printer{env.Stdout}, in)
}

func inspect(from *origin) (*inspection, error) {
	about := from.content.About
	in := &inspection{
		File: from.path, Step: from.content.Step, Program: about[aboutProgram], Method: about[aboutMethod],
		Device: about[aboutDevice], Version: about[aboutVersion], Fingerprint: about[aboutFingerprint],
		Meaning: factsOf([]byte(about[aboutMeaning])),
	}
	if norm := about[aboutNormalise]; json.Valid([]byte(norm)) {
		in.Normalise = json.RawMessage(norm)
	}
	var err error
	if in.SHA256, in.Bytes, err = hashOf(from.path); err != nil {
		return nil, err
	}
	for _, t := range from.content.Tensors {
		in.add(t.Name, t.Shape, t.Data)
	}
	return in, nil
}

// hashOf is the SHA-256 and the size of a file.
func hashOf(path string) (string, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, readable(err)
	}
	defer f.Close() // nothing was written
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return "", 0, readable(err)
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}

// planBeside is the plan of the run in whose directory a checkpoint lies.
func planBeside(path string) string {
	text, err := readProgram(filepath.Join(filepath.Dir(filepath.Dir(path)), "plan.txt"))
	if err != nil {
		return "no plan beside the checkpoint: " + err.Error() + "\n"
	}
	return string(text)
}

// add sums up a tensor and adds it to its site's sums.
func (in *inspection) add(name string, shape []int, data []float32) {
	squares, sum, most := 0.0, 0.0, 0.0
	for _, x := range data {
		v := float64(x)
		squares += v * v
		sum += v
		most = max(most, math.Abs(v))
	}
	norm := math.Sqrt(squares)
	in.Tensors = append(in.Tensors, tensorSum{
		name, shape, journal.Number(norm), journal.Number(sum / float64(max(len(data), 1))), journal.Number(most),
	})
	site, _, _ := strings.Cut(name, ".")
	s := in.site(site)
	switch {
	case strings.Contains(name, ":"):
		s.State += len(data)
		s.StateNorm = hypot(s.StateNorm, norm)
	case strings.HasSuffix(name, ".running_mean"), strings.HasSuffix(name, ".running_var"):
		s.Statistics += len(data)
	default:
		s.Parameters += len(data)
		s.Norm = hypot(s.Norm, norm)
	}
}

func hypot(n journal.Number, x float64) journal.Number {
	return journal.Number(math.Hypot(float64(n), x))
}

func (in *inspection) site(name string) *siteSum {
	for i := range in.Sites {
		if in.Sites[i].Name == name {
			return &in.Sites[i]
		}
	}
	in.Sites = append(in.Sites, siteSum{Name: name})
	return &in.Sites[len(in.Sites)-1]
}

func (c *inspectCmd) print(w io.Writer, in *inspection) error {
	fmt.Fprintf(w, "%s  %d bytes, verified\nsha256 %s\nafter batch %d of %s  method %s  device %s\nfingerprint %s\n\n",
		in.File, in.Bytes, in.SHA256, in.Step, in.Program, in.Method, in.Device, in.Fingerprint)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "stage or decoder\tparameters\tnorm\tstatistics\toptimiser's\tnorm\t")
	for _, s := range in.Sites {
		fmt.Fprintf(tw, "%s\t%d\t%.4g\t%d\t%d\t%.4g\t\n", s.Name, s.Parameters, s.Norm, s.Statistics, s.State, s.StateNorm)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if c.Tensors {
		if err := printTensors(w, in.Tensors); err != nil {
			return err
		}
	}
	fmt.Fprintln(w, "\nmade by a program with")
	for _, f := range in.Meaning {
		fmt.Fprintf(w, "  %s: %s\n", f.Name, f.Value)
	}
	if in.Plan != "" {
		fmt.Fprintf(w, "\n%s", in.Plan)
	}
	return nil
}

func printTensors(w io.Writer, ts []tensorSum) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\ntensor\tshape\tnorm\tmean\tlargest")
	for _, t := range ts {
		fmt.Fprintf(tw, "%s\t%v\t%.4g\t%.3g\t%.4g\n", t.Name, t.Shape, t.Norm, t.Mean, t.Most)
	}
	return tw.Flush()
}
