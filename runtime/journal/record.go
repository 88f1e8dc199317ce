package journal

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
)

// Number is a float64 that JSON can hold: what is not finite becomes null.
type Number float64

// MarshalJSON implements json.Marshaler.
func (n Number) MarshalJSON() ([]byte, error) {
	v := float64(n)
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, v, 'g', -1, 64), nil
}

// UnmarshalJSON implements json.Unmarshaler: null becomes NaN.
func (n *Number) UnmarshalJSON(text []byte) error {
	if bytes.Equal(text, []byte("null")) {
		*n = Number(math.NaN())
		return nil
	}
	v, err := strconv.ParseFloat(string(text), 64)
	*n = Number(v)
	return err
}

// Waits are the seconds a unit waited in a batch, by reason.
type Waits struct {
	Data     Number `json:"data"`
	Input    Number `json:"input"`
	Gradient Number `json:"gradient"`
	Output   Number `json:"output"`
}

// Steps are the seconds a unit computed in a batch, by phase.
type Steps struct {
	Forward   Number `json:"forward"`
	Sweep     Number `json:"sweep"`
	Update    Number `json:"update"`
	Recompute Number `json:"recompute"`
}

// Batch is what one unit, or one watch, reports of one batch. Epoch and Batch
// (within the epoch) count from 1; Step counts the updates of the whole run
// from 1. NaN stands for what was not measured.
type Batch struct {
	Epoch           int    `json:"epoch"`
	Batch           int    `json:"batch"`
	Step            int    `json:"step"`
	Unit            string `json:"unit"`
	Loss            Number `json:"loss"`
	LearningRate    Number `json:"lr"`
	EmbeddingStd    Number `json:"embedding_std"`
	EffectiveRank   Number `json:"effective_rank"`
	GradientNorm    Number `json:"gradient_norm"`
	Waits           Waits  `json:"wait_seconds"`
	Steps           Steps  `json:"step_seconds"`
	ImagesPerSecond Number `json:"images_per_second"`
	// Data tells batches of images apart; only of the unit that reads them.
	Data string `json:"data,omitempty"`
}

// Readout is a readout's result, with the figures to judge it by. Accuracies
// are from 0 to 1; NaN for what was not measured.
type Readout struct {
	Epoch    int    `json:"epoch"`
	Step     int    `json:"step"`
	Readout  string `json:"readout"`
	Stage    string `json:"stage"`
	Accuracy Number `json:"accuracy"`
	Random   Number `json:"random_encoder"`
	Pixels   Number `json:"raw_pixels"`
	Protocol string `json:"protocol"`
}

// line is one line of metrics.jsonl. Its kind comes first, so that a reader
// can tell batches from readouts by the line's start.
func line(kind string, record any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(record); err != nil {
		return nil, err
	}
	body := b.Bytes()[1:] // without the opening brace
	return append([]byte(`{"kind":"`+kind+`",`), body...), nil
}
