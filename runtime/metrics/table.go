package metrics

// Prefix starts every metric's name.
const Prefix = "locorun_"

// Kind is the type of a metric.
type Kind string

// The kinds. An Info is a gauge that is always 1 and says something by its
// labels.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
	Info      Kind = "info"
)

// Row defines one metric.
type Row struct {
	Name   string // without Prefix
	Kind   Kind
	Labels []string
	Help   string // one sentence, ends with a full stop
	Source string // who updates it, and when
	Group  string // heading of the documentation and row of the dashboard
	Unit   string // Grafana's unit of the panel; for a counter, of its rate
	Alerts []Alert
}

// Alert is an alert rule that rests on the metric of its row.
type Alert struct {
	Name     string
	Expr     string // PromQL
	For      string // a Prometheus duration
	Severity string // warning or critical
	Summary  string
	Remedy   string
}

// The metrics' names, without Prefix.
const (
	unitMicrobatches    = "unit_microbatches_total"
	unitImages          = "unit_images_total"
	unitStep            = "unit_step_seconds"
	unitWait            = "unit_wait_seconds_total"
	unitDevice          = "unit_device_seconds_total"
	unitLoss            = "unit_loss"
	unitEmbeddingStd    = "unit_embedding_std"
	unitEffectiveRank   = "unit_effective_rank"
	unitLearningRate    = "unit_learning_rate"
	unitGradientNorm    = "unit_gradient_norm"
	stageGradientNorm   = "stage_gradient_norm"
	stageGradientCosine = "stage_gradient_cosine"
	stageWeightNorm     = "stage_weight_norm"
	channelLength       = "channel_length"
	channelCapacity     = "channel_capacity"
	imagesTotal         = "images_total"
	flopsTotal          = "flops_total"
	peakFLOPs           = "peak_flops"
	memoryBytes         = "memory_bytes"
	deviceKernels       = "device_kernels_ratio"
	deviceMemory        = "device_memory_ratio"
	readoutAccuracy     = "readout_accuracy_ratio"
	checkpointLastTime  = "checkpoint_last_success_timestamp_seconds"
	checkpointFailures  = "checkpoint_failures_total"
	checkpointLastStep  = "checkpoint_last_step"
	resumedFromStep     = "resumed_from_step"
	errorsTotal         = "errors_total"
	scrapesTotal        = "scrapes_total"
	lastStepTime        = "last_step_timestamp_seconds"
	buildInfo           = "build_info"
	runInfo             = "run_info"
)

// Groups, severities and Grafana's names of units.
const (
	groupUnits           = "Units"
	groupStages          = "Stages"
	groupChannels        = "Channels"
	groupRun             = "Run"
	groupReadouts        = "Readouts"
	groupCheckpoints     = "Checkpoints"
	severityWarning      = "warning"
	severityCritical     = "critical"
	grafanaSeconds       = "s"
	grafanaBytes         = "bytes"
	grafanaShort         = "short"
	grafanaRatio         = "percentunit"
	grafanaTimestamp     = "dateTimeFromNow"
	grafanaFLOPs         = "flops"
	grafanaImagesPerTime = "suffix: img/s"
)

// Rows is the table of all metrics, in the order of the documentation.
func Rows() []Row {
	rows := unitRows()
	rows = append(rows, stageRows()...)
	rows = append(rows, channelRows()...)
	rows = append(rows, runRows()...)
	return append(rows, fileRows()...)
}

func unitRows() []Row {
	unit := []string{"unit"}
	return []Row{
		{Name: unitMicrobatches, Kind: Counter, Labels: unit, Group: groupUnits, Unit: grafanaShort,
			Help:   "Microbatches a unit has finished, swept included.",
			Source: "the unit, after the last sweep of a microbatch"},
		{Name: unitImages, Kind: Counter, Labels: unit, Group: groupUnits, Unit: grafanaImagesPerTime,
			Help:   "Images a unit has finished; an image counts once, not once per view.",
			Source: "the unit, with its microbatches"},
		{Name: unitStep, Kind: Histogram, Labels: []string{"unit", "phase"}, Group: groupUnits, Unit: grafanaSeconds,
			Help:   "Seconds a unit computed on one microbatch (update: on one batch), by phase: forward, sweep, update, recompute.",
			Source: "the unit, after each phase"},
		{Name: unitWait, Kind: Counter, Labels: []string{"unit", "reason"}, Group: groupUnits, Unit: grafanaRatio,
			Help:   "Seconds a unit waited: for data from the loader, for its input, for a gradient from above, for room at its output.",
			Source: "the unit, after each wait",
			Alerts: []Alert{{Name: "LocorunWaitsForData", For: "10m", Severity: severityWarning,
				Expr:    `rate(locorun_unit_wait_seconds_total{reason="data"}[5m]) > 0.5`,
				Summary: "Unit {{ $labels.unit }} waits for images more than half of the time.",
				Remedy:  "Decoding and views are the bottleneck: raise --workers or make the views cheaper."}}},
		{Name: unitDevice, Kind: Counter, Labels: unit, Group: groupUnits, Unit: grafanaRatio,
			Help:   "Seconds a card worked at a unit's ops, whatever the host did meanwhile; absent where it is not measured.",
			Source: "the card, read once per batch"},
		{Name: unitLoss, Kind: Gauge, Labels: unit, Group: groupUnits, Unit: grafanaShort,
			Help:   "Mean loss of the last batch, of a unit or a watch.",
			Source: "the unit, once per batch",
			Alerts: []Alert{{Name: "LocorunLossNotFinite", For: "0m", Severity: severityCritical,
				Expr:    `(locorun_unit_loss != locorun_unit_loss) or (abs(locorun_unit_loss) == Inf)`,
				Summary: "The loss of {{ $labels.unit }} is not finite.",
				Remedy:  "Lower the unit's lr or lengthen the warm-up; the run's log names the op."}}},
		{Name: unitEmbeddingStd, Kind: Gauge, Labels: unit, Group: groupUnits, Unit: grafanaShort,
			Help:   "Spread of the embeddings: 1 evenly over the sphere, 0 collapsed to a point.",
			Source: "the unit, once per batch",
			Alerts: []Alert{{Name: "LocorunEmbeddingCollapsed", For: "5m", Severity: severityWarning,
				Expr:    `locorun_unit_embedding_std < 0.1`,
				Summary: "The embeddings of {{ $labels.unit }} have all but collapsed.",
				Remedy:  "Look at the temperature, the views and the lr of this unit."}}},
		{Name: unitEffectiveRank, Kind: Gauge, Labels: unit, Group: groupUnits, Unit: grafanaShort,
			Help:   "Number of directions the embeddings spread over: exp of the entropy of the covariance's eigenvalues.",
			Source: "the unit, once per batch"},
		{Name: unitLearningRate, Kind: Gauge, Labels: unit, Group: groupUnits, Unit: grafanaShort,
			Help:   "Learning rate of the last update, schedule and the unit's factor included.",
			Source: "the unit, once per batch"},
		{Name: unitGradientNorm, Kind: Gauge, Labels: unit, Group: groupUnits, Unit: grafanaShort,
			Help:   "Euclidean norm of the gradient of all weights a unit updates, in the last batch.",
			Source: "the unit, once per batch"},
	}
}

func stageRows() []Row {
	stage := []string{"stage"}
	return []Row{
		{Name: stageGradientNorm, Kind: Gauge, Labels: []string{"stage", "unit"}, Group: groupStages, Unit: grafanaShort,
			Help:   "Euclidean norm of one unit's gradient at the output of a shared stage, where the losses meet.",
			Source: "the stage's owner, once per batch"},
		{Name: stageGradientCosine, Kind: Gauge, Labels: stage, Group: groupStages, Unit: grafanaShort,
			Help:   "Cosine between the losses' gradients at the output of a shared stage: 1 they agree, -1 they work against each other.",
			Source: "the stage's owner, once per batch"},
		{Name: stageWeightNorm, Kind: Gauge, Labels: stage, Group: groupStages, Unit: grafanaShort,
			Help:   "Euclidean norm of a stage's weights.",
			Source: "the stage's owner, once per batch"},
	}
}

func channelRows() []Row {
	channel := []string{"channel"}
	return []Row{
		{Name: channelLength, Kind: Gauge, Labels: channel, Group: groupChannels, Unit: grafanaShort,
			Help:   "Messages in a channel between two units.",
			Source: "read from the channel at each scrape"},
		{Name: channelCapacity, Kind: Gauge, Labels: channel, Group: groupChannels, Unit: grafanaShort,
			Help:   "Messages a channel between two units can hold.",
			Source: "read from the channel at each scrape"},
	}
}

func runRows() []Row {
	return []Row{
		{Name: imagesTotal, Kind: Counter, Group: groupRun, Unit: grafanaImagesPerTime,
			Help:   "Images that went through all units.",
			Source: "the pipeline, once per batch"},
		{Name: flopsTotal, Kind: Counter, Group: groupRun, Unit: grafanaFLOPs,
			Help:   "Floating-point operations done, two per multiply-add, counted by the kernels.",
			Source: "the pipeline, once per batch"},
		{Name: peakFLOPs, Kind: Gauge, Group: groupRun, Unit: grafanaFLOPs,
			Help:   "Floating-point operations per second the device can do at best, as measured at start.",
			Source: "the run, at start"},
		{Name: memoryBytes, Kind: Gauge, Labels: []string{"device", "kind"}, Group: groupRun, Unit: grafanaBytes,
			Help:   "Memory of a device: as planned before the run, and as used at most so far; of a card also what all processes occupy of it now, and its total.",
			Source: "the run, at start and once per batch; of a card also its monitor, once a second",
			Alerts: []Alert{{Name: "LocorunMemoryAbovePlan", For: "5m", Severity: severityWarning,
				Expr:    `locorun_memory_bytes{kind="used"} > ignoring(kind) 1.1 * locorun_memory_bytes{kind="planned"}`,
				Summary: "The run uses over a tenth more memory on {{ $labels.device }} than planned.",
				Remedy:  "Compare with plan.txt in the run directory; this is worth a report."}}},
		{Name: deviceKernels, Kind: Gauge, Labels: []string{"device"}, Group: groupRun, Unit: grafanaRatio,
			Help:   "Share of the last moments, at most a second, in which any kernel ran on a card, of whatever process; absent where it cannot be told.",
			Source: "the card's monitor, once a second"},
		{Name: deviceMemory, Kind: Gauge, Labels: []string{"device"}, Group: groupRun, Unit: grafanaRatio,
			Help:   "Share of the last moments, at most a second, in which a card's memory was read or written, by whatever process; absent where it cannot be told.",
			Source: "the card's monitor, once a second"},
		{Name: lastStepTime, Kind: Gauge, Group: groupRun, Unit: grafanaTimestamp,
			Help:   "Time of the last finished batch, in seconds since 1970.",
			Source: "the pipeline, once per batch",
			Alerts: []Alert{{Name: "LocorunStalled", For: "1m", Severity: severityCritical,
				Expr:    `time() - locorun_last_step_timestamp_seconds > 600`,
				Summary: "No batch has ended for ten minutes.",
				Remedy:  "/healthz of the run says which unit waits for which."}}},
		{Name: errorsTotal, Kind: Counter, Labels: []string{"kind"}, Group: groupRun, Unit: grafanaShort,
			Help:   "Errors by kind: checkpoint, collapse, data, divergence, journal, metrics, nan, readout, unit, watchdog, other.",
			Source: "whoever logs the error",
			Alerts: []Alert{{Name: "LocorunErrors", For: "0m", Severity: severityWarning,
				Expr:    `increase(locorun_errors_total[10m]) > 0`,
				Summary: "The run met errors of kind {{ $labels.kind }}.",
				Remedy:  "Read the log in the run directory."}}},
		{Name: scrapesTotal, Kind: Counter, Labels: []string{"result"}, Group: groupRun, Unit: grafanaShort,
			Help:   "Requests for this text by result: gathered, the values were read for it; cached, it got what was read just before; refused with 429.",
			Source: "the endpoint, at each request for /metrics"},
		{Name: buildInfo, Kind: Info, Labels: []string{"version", "revision", "goversion"}, Group: groupRun, Unit: grafanaShort,
			Help:   "Always 1; the labels say which program this is.",
			Source: "the run, at start"},
		{Name: runInfo, Kind: Info, Labels: []string{"graph", "method", "fingerprint"}, Group: groupRun, Unit: grafanaShort,
			Help:   "Always 1; the labels say which graph is trained, by which method.",
			Source: "the run, at start"},
	}
}

func fileRows() []Row {
	return []Row{
		{Name: readoutAccuracy, Kind: Gauge, Labels: []string{"readout", "stage", "encoder"}, Group: groupReadouts, Unit: grafanaRatio,
			Help:   "Accuracy of a readout on held-out images, for the trained encoder, the random one and raw pixels.",
			Source: "the readout, when it ends"},
		{Name: checkpointLastTime, Kind: Gauge, Group: groupCheckpoints, Unit: grafanaTimestamp,
			Help:   "Time of the last checkpoint that was written and verified, in seconds since 1970.",
			Source: "the checkpoint writer",
			Alerts: []Alert{{Name: "LocorunCheckpointOld", For: "5m", Severity: severityWarning,
				Expr:    `time() - locorun_checkpoint_last_success_timestamp_seconds > 7200`,
				Summary: "The last good checkpoint is over two hours old.",
				Remedy:  "Look for checkpoint errors in the log and for room on the disk."}}},
		{Name: checkpointFailures, Kind: Counter, Group: groupCheckpoints, Unit: grafanaShort,
			Help:   "Checkpoints that could not be written.",
			Source: "the checkpoint writer",
			Alerts: []Alert{{Name: "LocorunCheckpointFails", For: "0m", Severity: severityCritical,
				Expr:    `increase(locorun_checkpoint_failures_total[30m]) > 0`,
				Summary: "A checkpoint could not be written.",
				Remedy:  "The log names the path and the cause; training goes on from the last good one after a kill."}}},
		{Name: checkpointLastStep, Kind: Gauge, Group: groupCheckpoints, Unit: grafanaShort,
			Help:   "Step of the last checkpoint that was written and verified: batches trained until then.",
			Source: "the checkpoint writer"},
		{Name: resumedFromStep, Kind: Gauge, Group: groupCheckpoints, Unit: grafanaShort,
			Help:   "Step of the checkpoint that this run went on from; absent where it began anew.",
			Source: "the run, at start"},
	}
}
