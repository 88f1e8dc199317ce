package metrics

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// The parts of Grafana's dashboard JSON that we use (schema version 39).
type dashboard struct {
	Inputs        []input    `json:"__inputs"`
	Title         string     `json:"title"`
	UID           string     `json:"uid"`
	Tags          []string   `json:"tags"`
	SchemaVersion int        `json:"schemaVersion"`
	Editable      bool       `json:"editable"`
	Refresh       string     `json:"refresh"`
	Time          timeRange  `json:"time"`
	Templating    templating `json:"templating"`
	Panels        []panel    `json:"panels"`
}

type input struct {
	Name     string `json:"name"`
	Label    string `json:"label"`
	Type     string `json:"type"`
	PluginID string `json:"pluginId"`
}

type timeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type templating struct {
	List []variable `json:"list"`
}

type variable struct {
	Name       string     `json:"name"`
	Label      string     `json:"label"`
	Type       string     `json:"type"`
	Datasource datasource `json:"datasource"`
	Query      string     `json:"query"`
	Refresh    int        `json:"refresh"` // 2: whenever the time range changes
	Sort       int        `json:"sort"`
	Multi      bool       `json:"multi"`
	IncludeAll bool       `json:"includeAll"`
	AllValue   string     `json:"allValue"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type panel struct {
	ID          int          `json:"id"`
	Type        string       `json:"type"`
	Title       string       `json:"title"`
	Description string       `json:"description,omitempty"`
	GridPos     gridPos      `json:"gridPos"`
	Datasource  *datasource  `json:"datasource,omitempty"`
	FieldConfig *fieldConfig `json:"fieldConfig,omitempty"`
	Targets     []target     `json:"targets,omitempty"`
}

type gridPos struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

type fieldConfig struct {
	Defaults  fieldDefaults `json:"defaults"`
	Overrides []string      `json:"overrides"`
}

type fieldDefaults struct {
	Unit string `json:"unit"`
}

type target struct {
	RefID        string     `json:"refId"`
	Datasource   datasource `json:"datasource"`
	Expr         string     `json:"expr"`
	LegendFormat string     `json:"legendFormat"`
	Instant      bool       `json:"instant,omitempty"`
	Format       string     `json:"format,omitempty"`
}

// The grid of Grafana is 24 wide; we put three panels beside each other.
const (
	panelWidth  = 8
	panelHeight = 7
)

func prometheusSource() datasource { return datasource{Type: "prometheus", UID: "${DS_PROMETHEUS}"} }

// Dashboard is a Grafana dashboard, as JSON to import: a row per group of the
// table, a panel per metric, variables for the run (instance) and the unit.
func Dashboard() string {
	d := dashboard{
		Inputs:        []input{{Name: "DS_PROMETHEUS", Label: "Prometheus", Type: "datasource", PluginID: "prometheus"}},
		Title:         "locorun",
		UID:           "locorun",
		Tags:          []string{"locorun"},
		SchemaVersion: 39,
		Editable:      true,
		Refresh:       "10s",
		Time:          timeRange{From: "now-1h", To: "now"},
		Templating: templating{List: []variable{
			choice("instance", "Run", "label_values(locorun_run_info, instance)"),
			choice("unit", "Unit", `label_values(locorun_unit_microbatches_total{instance=~"$instance"}, unit)`),
		}},
		Panels: panels(),
	}
	out, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		panic("metrics: a dashboard of plain strings does not encode: " + err.Error())
	}
	return string(out) + "\n"
}

func choice(name, label, query string) variable {
	return variable{Name: name, Label: label, Type: "query", Datasource: prometheusSource(), Query: query,
		Refresh: 2, Sort: 1, Multi: true, IncludeAll: true, AllValue: ".*"}
}

// panels lays the groups out from top to bottom in the order in which the
// table first names them.
func panels() []panel {
	var out []panel
	y := 0
	for _, group := range groups() {
		out = append(out, panel{ID: len(out) + 1, Type: "row", Title: group, GridPos: gridPos{H: 1, W: 3 * panelWidth, Y: y}})
		y++
		n := 0
		for _, row := range Rows() {
			if row.Group != group {
				continue
			}
			at := gridPos{H: panelHeight, W: panelWidth, X: n % 3 * panelWidth, Y: y + n/3*panelHeight}
			out = append(out, metricPanel(len(out)+1, row, at))
			n++
		}
		y += (n + 2) / 3 * panelHeight
	}
	return out
}

func groups() []string {
	var out []string
	for _, row := range Rows() {
		if !slices.Contains(out, row.Group) {
			out = append(out, row.Group)
		}
	}
	return out
}

func metricPanel(id int, row Row, at gridPos) panel {
	src := prometheusSource()
	p := panel{ID: id, Type: "timeseries", Title: title(row), Description: row.Help, GridPos: at, Datasource: &src,
		FieldConfig: &fieldConfig{Defaults: fieldDefaults{Unit: row.Unit}, Overrides: []string{}}}
	switch {
	case row.Kind == Histogram:
		p.Targets = []target{quantile("A", 0.5, row), quantile("B", 0.95, row)}
	case row.Kind == Counter:
		p.Targets = []target{query("A", "rate("+selector(row.Name, row)+"[$__rate_interval])", row)}
	case row.Kind == Info:
		p.Type = "table"
		p.Targets = []target{query("A", selector(row.Name, row), row)}
		p.Targets[0].Instant, p.Targets[0].Format = true, "table"
	case row.Unit == grafanaTimestamp:
		p.Type = "stat"
		p.Targets = []target{query("A", selector(row.Name, row)+" * 1000", row)} // Grafana counts milliseconds
	default:
		p.Targets = []target{query("A", selector(row.Name, row), row)}
	}
	return p
}

// title is the name in words: unit_wait_seconds_total is "Unit wait seconds".
func title(row Row) string {
	words := strings.ReplaceAll(strings.TrimSuffix(row.Name, "_total"), "_", " ")
	return strings.ToUpper(words[:1]) + words[1:]
}

// selector picks the chosen runs, and the chosen units where there are any.
func selector(name string, row Row) string {
	if slices.Contains(row.Labels, "unit") {
		return Prefix + name + `{instance=~"$instance", unit=~"$unit"}`
	}
	return Prefix + name + `{instance=~"$instance"}`
}

func query(ref, expr string, row Row) target {
	return target{RefID: ref, Datasource: prometheusSource(), Expr: expr, LegendFormat: legend(row)}
}

func quantile(ref string, q float64, row Row) target {
	by := strings.Join(append([]string{"le", "instance"}, row.Labels...), ", ")
	t := query(ref, fmt.Sprintf("histogram_quantile(%g, sum by (%s) (rate(%s[$__rate_interval])))", q, by, selector(row.Name+"_bucket", row)), row)
	t.LegendFormat += fmt.Sprintf(" p%g", 100*q)
	return t
}

func legend(row Row) string {
	parts := []string{}
	for _, l := range row.Labels {
		parts = append(parts, "{{"+l+"}}")
	}
	if len(parts) == 0 {
		return "{{instance}}"
	}
	return strings.Join(parts, " ")
}
