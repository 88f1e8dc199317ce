package metrics

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"strings"
	"time"
)

// Page is what the live page shows at one moment. Numbers that are not known
// yet are NaN and shown as a dash.
type Page struct {
	Graph, Method   string
	Directory       string // of the run
	State           string // such as "training", "readout", "done"
	Epoch, Epochs   int
	Batch, Batches  int // of the whole run
	ImagesPerSecond float64
	Elapsed, Left   time.Duration // Left below 0: unknown
	Units           []PageUnit
	Readouts        []PageReadout
}

// PageUnit is a unit's, or a watch's, line of the page.
type PageUnit struct {
	Name                                            string
	Loss, LearningRate, EmbeddingStd, EffectiveRank float64
	GradientNorm                                    float64
	Waits                                           []PageWait
}

// PageWait is the seconds a unit has waited for one reason.
type PageWait struct {
	Reason  Reason
	Seconds float64
}

// PageReadout is a readout's latest result, accuracies from 0 to 1.
type PageReadout struct {
	Readout, Stage          string
	Trained, Random, Pixels float64
}

//go:embed page.html
var pageText string

func pageTemplate() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"number":  number,
		"percent": percent,
		"seconds": seconds,
		"left":    left,
		"share":   share,
		"waits":   waits,
	}).Parse(pageText))
}

func (o ServeOptions) page(w http.ResponseWriter, t *template.Template) {
	var p Page
	if o.Page != nil {
		p = o.Page()
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		o.Set.Error("metrics")
		http.Error(w, "the page could not be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_, _ = w.Write(b.Bytes()) // the reader may be gone, which is no trouble of ours
}

// number shows four digits; what is not known yet is a dash.
func number(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return fmt.Sprintf("%.4g", v)
}

func percent(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*v)
}

func seconds(d time.Duration) string { return d.Round(time.Second).String() }

func left(d time.Duration) string {
	if d < 0 {
		return "–"
	}
	return seconds(d)
}

// share is done out of all in percent, for the bar.
func share(done, all int) int {
	if all <= 0 {
		return 0
	}
	return min(100, max(0, int(100*int64(done)/int64(all))))
}

func waits(ws []PageWait) string {
	var parts []string
	for _, w := range ws {
		parts = append(parts, fmt.Sprintf("%s %.1f s", w.Reason, w.Seconds))
	}
	return strings.Join(parts, ", ")
}
