package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl/diag"
)

// Fact is one of the things that decide which weights a run ends with. Two runs
// with equal facts, of one binary, end with the same bytes.
type Fact struct {
	Name  string `json:"name"`  // "train.batch", "stage s1", "unit low"
	Value string `json:"value"` // equal for equal meaning; to be read, not to be parsed
	// Cut says that it is about how the encoder is cut into units, which a run
	// may change when it goes on from a checkpoint of another.
	Cut bool `json:"cut,omitempty"`
}

// Difference is a fact that two runs do not share; "" stands for one that a run
// does not have.
type Difference struct {
	Fact
	Was string
}

// Meaning lists the facts of the run. What only ends a run earlier or looks on,
// such as on_nan and the readouts, is not among them.
func (r *Run) Meaning() []Fact {
	n := r.net
	t := &n.Train
	facts := []Fact{
		{Name: "device", Value: r.cfg.Backend.Name()},
		{Name: "data.images", Value: r.images.Fingerprint()},
		{Name: "data.normalise", Value: describe(r.norm)},
		{Name: "views", Value: describe(n.Views)},
		{Name: "input", Value: describe(n.Input)},
		{Name: "train.batch", Value: fmt.Sprint(t.Batch)},
		{Name: "train.microbatch", Value: fmt.Sprint(t.Microbatch)},
		{Name: "train.seed", Value: fmt.Sprint(t.Seed)},
		{Name: "train.units", Value: map[bool]string{false: "together", true: "in_turn"}[t.InTurn]},
		{Name: "train.loss", Value: describe(t.Loss)},
		{Name: "train.optimizer", Value: describe(t.Optimizer)},
		{Name: "train.schedule", Value: describe(t.Schedule)},
	}
	if r.cfg.DeviceViews { // silent else, as runs from before it are
		facts = append(facts, Fact{Name: "device.views", Value: "device"})
	}
	if r.counts() {
		facts = append(facts, Fact{Name: "train.epochs", Value: fmt.Sprint(t.Epochs)})
	}
	if t.Precision != model.F32 { // silent else, as runs from before it are
		facts = append(facts, Fact{Name: "train.precision", Value: t.Precision.String()})
	}
	facts = append(facts, stageFacts(n)...)
	return append(facts, cutFacts(n)...)
}

// counts reports whether the number of epochs changes what a batch does: not
// where the rate is constant, so that such a run may be made longer.
func (r *Run) counts() bool {
	for _, u := range r.net.Units {
		if u.Schedule.Kind != "constant" {
			return true
		}
	}
	return r.net.Train.InTurn
}

// stageFacts tells of the encoder: the stages as they were written, whatever
// parts a cut divides one into, and their order.
func stageFacts(n *model.Net) []Fact {
	var labels []string
	layers := map[string][]*model.Layer{}
	for _, s := range n.Stages {
		l := s.Label()
		if _, ok := layers[l]; !ok {
			labels = append(labels, l)
		}
		layers[l] = append(layers[l], s.Layers...)
	}
	facts := []Fact{{Name: "stages", Value: strings.Join(labels, " -> ")}}
	for _, l := range labels {
		facts = append(facts, Fact{Name: "stage " + l, Value: describe(layers[l])})
	}
	return facts
}

// cutFacts tells of the units, of what else trains, and of what they share.
func cutFacts(n *model.Net) (facts []Fact) {
	facts = append(facts, Fact{Name: "method", Value: n.Method, Cut: true})
	for _, s := range n.Stages {
		if s.Tie != "" && s.Tie != model.Shared || s.Of != "" {
			value := fmt.Sprintf("tie=%s", s.Tie)
			if s.Of != "" { // where the written stage is divided
				value += fmt.Sprintf(" of=%s layers=%d", s.Of, len(s.Layers))
			}
			facts = append(facts, Fact{Name: "overlap " + s.Name, Value: value, Cut: true})
		}
	}
	for _, u := range n.Units {
		stages := n.Stages[u.First].Name + " -> " + n.Stages[u.Last].Name
		facts = append(facts, Fact{Name: "unit " + u.Name, Value: stages + " " + describe(*u), Cut: true})
	}
	for _, w := range n.Watches {
		facts = append(facts, Fact{Name: "watch " + w.Name, Value: n.Stages[w.Stage].Name + " " + describe(*w), Cut: true})
	}
	if len(n.Ties) > 0 {
		facts = append(facts, Fact{Name: "ties", Value: describe(n.Ties), Cut: true})
	}
	return facts
}

// Fingerprint is a hash of facts: equal for runs that end with the same bytes.
func Fingerprint(facts []Fact) string {
	h := sha256.New()
	for _, f := range facts {
		fmt.Fprintf(h, "%q %q\n", f.Name, f.Value)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Differences lists what the facts of a run and those of the one before it do
// not share, in the run's order, and then what only the one before had.
func Differences(was, is []Fact) (list []Difference) {
	before := map[string]string{}
	for _, f := range was {
		before[f.Name] = f.Value
	}
	for _, f := range is {
		if old, ok := before[f.Name]; !ok || old != f.Value {
			list = append(list, Difference{f, old})
		}
		delete(before, f.Name)
	}
	for _, f := range was {
		if old, ok := before[f.Name]; ok {
			list = append(list, Difference{Fact{Name: f.Name, Cut: f.Cut}, old})
		}
	}
	return list
}

// String shows where two values part, or the values where they are short.
func (d Difference) String() string {
	const most = 60
	was, is := d.Was, d.Value
	switch {
	case was == "":
		return fmt.Sprintf("%s: the checkpoint has none, the program %s", d.Name, shorten(is, most))
	case is == "":
		return fmt.Sprintf("%s: the checkpoint has %s, the program none", d.Name, shorten(was, most))
	}
	if len(was) > most || len(is) > most {
		from := 0
		for from < min(len(was), len(is)) && was[from] == is[from] {
			from++
		}
		from = strings.LastIndexAny(was[:from], " {[") + 1 // back to the word's start
		was, is = "... "+word(was[from:])+" ...", "... "+word(is[from:])+" ..."
	}
	return fmt.Sprintf("%s: the checkpoint has %s, the program %s", d.Name, was, is)
}

// word is a description's text up to the end of its first field.
func word(s string) string {
	if i := strings.IndexAny(s, " }]"); i > 0 {
		s = s[:i]
	}
	return s
}

func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most-4] + " ..."
}

// unspoken are the fields of the model that change no byte of the weights, or
// are told of under a name of their own.
var unspoken = map[string]bool{
	"Range": true, "Export": true, "First": true, "Last": true,
	"OnNaN": true, "OnDivergence": true, "OnCollapse": true,
}

// describe prints a part of the model: fields by name, without those that are
// zero, so that one added later is silent in programs that do not use it.
func describe(v any) string {
	var b strings.Builder
	write(&b, reflect.ValueOf(v))
	return strings.TrimSpace(b.String())
}

func write(b *strings.Builder, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		write(b, v.Elem())
	case reflect.Struct:
		b.WriteByte('{')
		writeFields(b, v)
		b.WriteByte('}')
	case reflect.Slice, reflect.Array:
		b.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				b.WriteByte(' ')
			}
			write(b, v.Index(i))
		}
		b.WriteByte(']')
	default:
		fmt.Fprint(b, v.Interface())
	}
}

func writeFields(b *strings.Builder, v reflect.Value) {
	sep := ""
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if unspoken[f.Name] || f.Type == reflect.TypeFor[diag.Range]() || v.Field(i).IsZero() {
			continue
		}
		b.WriteString(sep + strings.ToLower(f.Name) + "=")
		write(b, v.Field(i))
		sep = " "
	}
}
