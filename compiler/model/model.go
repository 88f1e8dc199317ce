// Package model is a program after checking: every name resolved, every shape
// known and above zero, every block and repeat written out, every default in
// place, the method's rewrite done. It is plain data; every part keeps the
// place in the source it came from.
//
//	dsl.File --check--> model.Net --lower--> ir.Program
//
// A Net is never changed after check returned it.
package model

import "github.com/locorun/locorun/dsl/diag"

// Net is a checked program.
type Net struct {
	File   string
	Method string // loco, gim or e2e
	Params []Param

	Data     Data
	Views    []View // two random draws of these per picture; Range'd, in order
	Input    Shape  // of one view
	Stages   []*Stage
	Units    []*Unit // in order: starts and ends never decrease
	Watches  []*Watch
	Ties     []Tie // soft or free copies, after rewriting
	Train    Train
	Readouts []Readout
}

// Param is a param of the file with its value for this run.
type Param struct {
	Name  string
	Value string // as it would be written in the file
	Range diag.Range
}

// Shape is the shape of one picture's map: height, width, channels.
type Shape struct{ H, W, C int }

// Elements is the number of values in a map of this shape.
func (s Shape) Elements() int { return s.H * s.W * s.C }

// Stage is a named run of layers with one set of weights.
type Stage struct {
	Name    string
	As      string // torch name; equals Name where no `as` was written
	Range   diag.Range
	In, Out Shape
	Layers  []*Layer
	Of      string // the written stage this is a part of, after first=; else ""
	Tie     Tying  // Shared, or Upper where an overlap says so
	// Overlap is the place of the overlap line; zero where one unit holds it.
	Overlap diag.Range
}

// Label is the prefix of the names of the stage's weights: the stage as it
// was written, which for the rest of a stage cut by first= is the whole one.
func (s *Stage) Label() string {
	if s.Of != "" {
		return s.Of
	}
	return s.Name
}

// LayerKind is the kind of a layer.
type LayerKind string

// The layers of LANGUAGE section 3, after blocks and repeats are written out.
const (
	Conv     LayerKind = "conv"
	Norm     LayerKind = "norm"
	ReLU     LayerKind = "relu"
	Pool     LayerKind = "pool"
	Dense    LayerKind = "dense"
	Resize   LayerKind = "resize"
	Shuffle  LayerKind = "shuffle"
	Residual LayerKind = "residual"
	Split    LayerKind = "split"
	Fork     LayerKind = "fork"
)

// Layer is one layer with its shapes. Fields a kind does not use are zero.
type Layer struct {
	Kind    LayerKind
	Range   diag.Range
	In, Out Shape

	// Name is the prefix of the weights' names within the stage or decoder,
	// torch style: "0.conv1", "1.downsample.0", "bn1". Weights add ".weight",
	// ".bias", ".running_mean", ".running_var". Empty for layers without any.
	Name string

	// Export is the prefix in exported files, the stage's and the line's `as`
	// applied: "conv1", "layer1.0.conv1". Decoders have none.
	Export string

	KH, KW   int  // conv, pool: window; 0 for a pool of the whole map
	Stride   int  // conv, pool
	Pad      int  // conv, pool: on every side
	Groups   int  // conv; shuffle; norm: 0 is batch normalisation
	Bias     bool // conv
	Max      bool // pool: max, else mean
	Branches []Branch
}

// Branch is a path through a residual, split or fork. A residual has two: the
// shortcut (empty: identity) and the body. Layers may be empty (identity).
type Branch struct {
	Range   diag.Range
	In, Out Shape
	Layers  []*Layer
}

// Decoder is one unit's instance of a decoder template.
type Decoder struct {
	Name   string // of the template
	Range  diag.Range
	In     Shape
	Out    int // length of the embedding
	Layers []*Layer
	// CopyOf lists, for tie=soft and tie=free, the encoder stages whose copies
	// stand in front of the decoder's own layers: the first Copied[i].Layers
	// layers of Layers are a copy of Copied[i].Stage, and so on. Weights of
	// copied layers are named after the encoder's and start equal to them.
	Copied []Copied
}

// Copied says that the next Layers layers of a decoder are a copy of Stage.
type Copied struct {
	Stage  string
	Layers int
}

// Unit is consecutive stages, a decoder and a loss.
type Unit struct {
	Name    string
	Range   diag.Range
	First   int // index into Net.Stages
	Last    int // index into Net.Stages, inclusive
	Decoder Decoder
	Loss    Loss
	LR      float64 // factor on the learning rate, 1 by default
	// Optimizer and Schedule are the unit's own, equal to Train's where the
	// unit's braces say nothing. They hold for the stages the unit owns and
	// its decoder.
	Optimizer Optimizer
	Schedule  Schedule
	OnNaN     string // stop or skip
	// OnDivergence and OnCollapse are warn or stop.
	OnDivergence, OnCollapse string
}

// Tying says which losses train a stage that several units hold.
type Tying string

// The variants of LANGUAGE section 4 that survive rewriting.
const (
	Shared Tying = "shared" // all losses train it
	Upper  Tying = "upper"  // only the topmost unit's loss trains it
)

// Tie is a pair of copies of one stage: tie=soft and tie=free.
type Tie struct {
	Stage   string  // the encoder's stage
	Lower   int     // index of the unit whose decoder begins with the copy
	Upper   int     // index of the unit that owns the encoder's stage
	Penalty float64 // x of x*||a-b||^2; 0 for free
	Range   diag.Range
}

// Watch is a loss that trains its own decoder only.
type Watch struct {
	Name    string
	Range   diag.Range
	Stage   int // index into Net.Stages
	Decoder Decoder
	Loss    Loss
}

// Loss is NT-Xent.
type Loss struct {
	Range       diag.Range
	Temperature float64
	Batch       bool // negatives=batch, else negatives=microbatch
}

// Precision is what a card computes a training in; weights, their gradients,
// statistics and losses are float32 in each.
type Precision string

// The precisions. The zero Precision is F32.
const (
	F32  Precision = ""     // float32
	TF32 Precision = "tf32" // factors of products may be rounded to 10 bits behind the point
	BF16 Precision = "bf16" // maps and their gradients are kept in 16 bits, 7 behind the point
)

// String is the word of the language.
func (p Precision) String() string {
	if p == F32 {
		return "f32"
	}
	return string(p)
}

// Train is the train block.
type Train struct {
	Range             diag.Range
	Batch, Microbatch int // images; each brings two views
	Epochs            int
	Seed              uint64
	InTurn            bool // units in_turn
	Precision         Precision
	Loss              Loss
	Optimizer         Optimizer
	Schedule          Schedule
	// OnNaN, OnDivergence and OnCollapse are as in Unit; the last two hold for
	// watches.
	OnNaN, OnDivergence, OnCollapse string
}

// Optimizer is the update rule with its settings.
type Optimizer struct {
	Range       diag.Range
	Kind        string // sgd, lars, adamw
	LR          float64
	Momentum    float64
	WeightDecay float64
	Trust       float64    // lars
	Betas       [2]float64 // adamw
	Eps         float64    // adamw, lars
	Nesterov    bool       // sgd
}

// Schedule is the course of the learning rate.
type Schedule struct {
	Range  diag.Range
	Kind   string  // cosine, constant
	Warmup float64 // epochs, linear from 0
}

// Data is the data block.
type Data struct {
	Range     diag.Range
	Images    *Source // feeds the units; equals Train where not written
	Train     *Source // readouts fit on it
	Test      *Source // readouts score on it; nil where not written
	Channels  int     // 0: as the source has them
	Normalise Normalise
}

// Normalise is how pictures are centred and scaled, last of all.
type Normalise struct {
	Kind      string // auto (first 10,000 images), given, none
	Mean, Std []float64
	Range     diag.Range
}

// Source is where pictures come from.
type Source struct {
	Range    diag.Range
	Kind     string   // idx, cifar10, cifar100, stl10, folder, synthetic, split
	Paths    []string // idx: images, labels; others: the directory
	Part     string   // stl10; split: "rest" or "held"
	N        int      // synthetic
	Classes  int      // synthetic
	Size     [2]int   // synthetic: height, width
	Seed     uint64   // synthetic: draws of train and test never meet
	Fraction float64  // split: the share held out
	Of       *Source  // split
	// Channels and Shape of the source, where known before it is opened
	// (synthetic, cifar, stl10); zero otherwise.
	Known Shape
}

// View is one step of an augmentation or of a readout's picture pipeline.
type View struct {
	Kind  string // crop, centre, resize, flip, jitter, grey, blur
	Range diag.Range
	H, W  int        // crop, centre, resize
	Scale [2]float64 // crop: share of the area
	Ratio [2]float64 // crop: width over height
	P     float64    // probability of the step
	// jitter strengths
	Brightness, Contrast, Saturation, Hue float64
	Sigma                                 [2]float64 // blur, in pixels
}

// Readout is a classifier trained on frozen features.
type Readout struct {
	Kind   string // linear, knn
	Range  diag.Range
	On     []int // indices into Net.Stages
	Every  int   // epochs; 0: at the end only
	Linear LinearFit
	KNN    KNN
	// Standardise features by the training set's mean and deviation.
	Standardise bool
	TrainView   []View
	TestView    []View
}

// LinearFit is the fit of a linear readout.
type LinearFit struct {
	LR, Momentum, WeightDecay float64
	Batch, Epochs             int
	Drop                      []int // epochs at which the rate is divided by 10
}

// KNN is the setting of a k-nearest-neighbour readout.
type KNN struct {
	K           int
	Temperature float64
}
