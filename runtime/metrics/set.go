package metrics

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Phase is what a unit computes.
type Phase string

// The phases of unit_step_seconds.
const (
	Forward   Phase = "forward"
	Sweep     Phase = "sweep"
	Update    Phase = "update"
	Recompute Phase = "recompute"
)

// Reason is what a unit waits for.
type Reason string

// The reasons of unit_wait_seconds_total.
const (
	Data     Reason = "data"     // images from the loader
	Input    Reason = "input"    // the map of the unit below
	Gradient Reason = "gradient" // feedback of the unit above
	Output   Reason = "output"   // room in the channel to the unit above
)

// The kinds of memory_bytes. Occupied is what all processes together hold of a
// card, Total all that it has.
const (
	Planned  = "planned"
	Used     = "used"
	Occupied = "occupied"
	Total    = "total"
)

// Trained, Random and Pixels are the encoders of readout_accuracy_ratio.
const (
	Trained = "trained"
	Random  = "random"
	Pixels  = "pixels"
)

func phases() []string {
	return []string{string(Forward), string(Sweep), string(Update), string(Recompute)}
}
func reasons() []string {
	return []string{string(Data), string(Input), string(Gradient), string(Output)}
}

// ErrorKinds are the kinds of errors_total; any other is counted as "other".
func ErrorKinds() []string {
	return []string{"checkpoint", "collapse", "data", "divergence", "journal", "metrics", "nan", "readout", "unit", "watchdog", "other"}
}

// The results of scrapes_total.
const (
	scrapeGathered = "gathered"
	scrapeCached   = "cached"
	scrapeRefused  = "refused"
)

// Channel is a bounded channel whose length is read at each scrape.
type Channel struct {
	Name     string // such as "low-mid"
	Capacity int
	Length   func() int // called from a goroutine of the endpoint, not after one call hangs; nil: 0
}

// Build says which program runs.
type Build struct{ Version, Revision, GoVersion string }

// RunInfo says what is trained. Graph is the file's name without directories.
type RunInfo struct{ Graph, Method, Fingerprint string }

// Options announces the label values of a run. All names come from the
// program.
type Options struct {
	Units    []string
	Stages   []string
	Watches  []string
	Readouts []string
	Devices  []string // default: "cpu"
	Channels []Channel
	Build    Build
	Run      RunInfo
	Now      func() time.Time // default: time.Now
}

// Set is the metrics of one run. Its methods may be called from any goroutine,
// also on a nil Set, which drops what it is told.
type Set struct {
	registry   *prometheus.Registry
	counters   map[string]*prometheus.CounterVec
	gauges     map[string]*prometheus.GaugeVec
	histograms map[string]*prometheus.HistogramVec
	known      map[string][]string // label -> announced values
	watches    []string            // names that label "unit" may have in statistics of a loss
	budget     *budget
	channels   atomic.Pointer[[]*channel]
	units      int
	now        func() time.Time
}

// New makes the metrics of a run, on a registry of its own.
func New(o Options) *Set {
	s := &Set{
		registry:   prometheus.NewRegistry(),
		counters:   map[string]*prometheus.CounterVec{},
		gauges:     map[string]*prometheus.GaugeVec{},
		histograms: map[string]*prometheus.HistogramVec{},
		known:      announced(o),
		watches:    slices.Clone(o.Watches),
		budget:     newBudget(len(o.Units)),
		units:      len(o.Units),
		now:        o.Now,
	}
	if s.now == nil {
		s.now = time.Now
	}
	for _, row := range Rows() {
		s.add(row)
	}
	s.registry.MustRegister(channelCollector{s})
	s.SetChannels(o.Channels)
	s.start(o)
	return s
}

func announced(o Options) map[string][]string {
	devices := o.Devices
	if len(devices) == 0 {
		devices = []string{"cpu"}
	}
	return map[string][]string{
		"unit":    o.Units,
		"stage":   o.Stages,
		"readout": o.Readouts,
		"device":  devices,
		"phase":   phases(),
		"reason":  reasons(),
		"encoder": {Trained, Random, Pixels},
	}
}

// add makes the collector of a row. Channels have one of their own, because
// their values are read and not reported.
func (s *Set) add(row Row) {
	if slices.Contains(row.Labels, "channel") {
		return
	}
	name := Prefix + row.Name
	switch row.Kind {
	case Counter:
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: row.Help}, row.Labels)
		s.counters[row.Name] = v
		s.registry.MustRegister(v)
	case Gauge, Info:
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: row.Help}, row.Labels)
		s.gauges[row.Name] = v
		s.registry.MustRegister(v)
	case Histogram:
		v := prometheus.NewHistogramVec(histogramOpts(name, row.Help), row.Labels)
		s.histograms[row.Name] = v
		s.registry.MustRegister(v)
	}
}

// histogramOpts gives both kinds of buckets: native ones for a Prometheus that
// asks for them, and classic ones, from a millisecond to 100 s, for the text
// format and for everyone else.
func histogramOpts(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help,
		Buckets:                         []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 30, 100},
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	}
}

// start makes the rows that are known from the first scrape on: counters at
// zero, so that a rate sees their first increase. Gauges appear when they are
// first set, because a loss of zero would be a lie.
func (s *Set) start(o Options) {
	for _, u := range o.Units {
		s.count(unitMicrobatches, 0, u)
		s.count(unitImages, 0, u)
		for _, r := range reasons() {
			s.count(unitWait, 0, u, r)
		}
	}
	for _, k := range ErrorKinds() {
		s.count(errorsTotal, 0, k)
	}
	for _, r := range []string{scrapeGathered, scrapeCached, scrapeRefused} {
		s.count(scrapesTotal, 0, r)
	}
	for _, name := range []string{imagesTotal, flopsTotal, checkpointFailures} {
		s.count(name, 0)
	}
	s.set(buildInfo, 1, o.Build.Version, o.Build.Revision, o.Build.GoVersion)
	s.set(runInfo, 1, o.Run.Graph, o.Run.Method, o.Run.Fingerprint)
}

// SetChannels replaces the channels whose lengths are read at each scrape. A
// name's second channel, and those beyond 6*units+4, are left out and counted
// as errors.
func (s *Set) SetChannels(cs []Channel) {
	if s == nil {
		return
	}
	var kept []*channel
	for _, c := range cs {
		same := func(k *channel) bool { return k.Name == c.Name }
		if slices.ContainsFunc(kept, same) || len(kept) == channelsAtMost(s.units) {
			s.Error("metrics")
			continue
		}
		kept = append(kept, &channel{Channel: c})
	}
	s.channels.Store(&kept)
}

// Microbatch reports that a unit has finished a microbatch of n images.
func (s *Set) Microbatch(unit string, n int) {
	s.countKnown(unitMicrobatches, 1, label{"unit", unit})
	s.countKnown(unitImages, float64(n), label{"unit", unit})
}

// Step reports the seconds a unit computed in one phase of one microbatch.
func (s *Set) Step(unit string, phase Phase, seconds float64) {
	s.observeKnown(unitStep, seconds, label{"unit", unit}, label{"phase", string(phase)})
}

// Wait reports the seconds a unit waited.
func (s *Set) Wait(unit string, reason Reason, seconds float64) {
	s.countKnown(unitWait, seconds, label{"unit", unit}, label{"reason", string(reason)})
}

// Device reports the seconds that a card has worked at a unit's ops since the last
// report.
func (s *Set) Device(unit string, seconds float64) {
	s.countKnown(unitDevice, seconds, label{"unit", unit})
}

// Loss reports the mean loss of a batch, of a unit or a watch.
func (s *Set) Loss(unit string, v float64) { s.setLoss(unitLoss, v, unit) }

// EmbeddingStd reports stats.EmbeddingStd of a batch, of a unit or a watch.
func (s *Set) EmbeddingStd(unit string, v float64) { s.setLoss(unitEmbeddingStd, v, unit) }

// EffectiveRank reports stats.EffectiveRank of a batch, of a unit or a watch.
func (s *Set) EffectiveRank(unit string, v float64) { s.setLoss(unitEffectiveRank, v, unit) }

// LearningRate reports the rate of a unit's or a watch's last update.
func (s *Set) LearningRate(unit string, v float64) { s.setLoss(unitLearningRate, v, unit) }

// GradientNorm reports the norm of the gradient of a unit's or watch's weights.
func (s *Set) GradientNorm(unit string, v float64) { s.setLoss(unitGradientNorm, v, unit) }

// StageGradientNorm reports the norm of one unit's gradient at the output of a
// shared stage.
func (s *Set) StageGradientNorm(stage, unit string, v float64) {
	s.setKnown(stageGradientNorm, v, label{"stage", stage}, label{"unit", unit})
}

// StageGradientCosine reports the cosine between the losses' gradients at the
// output of a shared stage; stats.Cosine for two losses, stats.MeanCosine for
// more.
func (s *Set) StageGradientCosine(stage string, v float64) {
	s.setKnown(stageGradientCosine, v, label{"stage", stage})
}

// StageWeightNorm reports the norm of a stage's weights.
func (s *Set) StageWeightNorm(stage string, v float64) {
	s.setKnown(stageWeightNorm, v, label{"stage", stage})
}

// Images reports n images that went through all units.
func (s *Set) Images(n int) { s.countKnown(imagesTotal, float64(n)) }

// FLOPs reports n floating-point operations.
func (s *Set) FLOPs(n int64) { s.countKnown(flopsTotal, float64(n)) }

// PeakFLOPs reports how many floating-point operations a second the device can
// do.
func (s *Set) PeakFLOPs(v float64) { s.setKnown(peakFLOPs, v) }

// Memory reports the bytes Planned or Used on a device, Occupied of it, or its
// Total.
func (s *Set) Memory(device, kind string, bytes int64) {
	if !slices.Contains([]string{Planned, Used, Occupied, Total}, kind) {
		s.Error("metrics")
		return
	}
	s.setKnown(memoryBytes, float64(bytes), label{"device", device}, label{"kind", kind})
}

// Utilisation reports the shares of the last moments in which a kernel ran on a
// card, and in which its memory was read or written, from 0 to 1.
func (s *Set) Utilisation(device string, kernels, memory float64) {
	s.setKnown(deviceKernels, kernels, label{"device", device})
	s.setKnown(deviceMemory, memory, label{"device", device})
}

// Readout reports a readout's accuracy, from 0 to 1, for the Trained or the
// Random encoder, or for Pixels, whose stage is "".
func (s *Set) Readout(readout, stage, encoder string, accuracy float64) {
	s.setKnown(readoutAccuracy, accuracy, label{"readout", readout}, label{"stage", stage}, label{"encoder", encoder})
}

// Checkpoint reports that a checkpoint was written (err nil) or was not.
func (s *Set) Checkpoint(err error) {
	if err != nil {
		s.countKnown(checkpointFailures, 1)
		s.Error("checkpoint")
		return
	}
	s.setKnown(checkpointLastTime, s.seconds())
}

// CheckpointStep reports the step, in batches from the run's first, of a
// checkpoint that was written and verified.
func (s *Set) CheckpointStep(step int) { s.setKnown(checkpointLastStep, float64(step)) }

// Resumed reports the step of the checkpoint that the run goes on from.
func (s *Set) Resumed(step int) { s.setKnown(resumedFromStep, float64(step)) }

// LastStep reports that a batch has ended just now.
func (s *Set) LastStep() { s.setKnown(lastStepTime, s.seconds()) }

// Error counts an error of a kind of ErrorKinds.
func (s *Set) Error(kind string) {
	if s == nil {
		return
	}
	if !slices.Contains(ErrorKinds(), kind) {
		kind = "other"
	}
	s.count(errorsTotal, 1, kind)
}

func (s *Set) seconds() float64 {
	if s == nil {
		return math.NaN()
	}
	return float64(s.now().UnixNano()) / 1e9
}
