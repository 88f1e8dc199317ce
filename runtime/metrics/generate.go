package metrics

import (
	"fmt"
	"strings"
)

//go:generate go test -run TestGenerated . -update

// Doc is the documentation of the table, as Markdown.
func Doc() string {
	var b strings.Builder
	b.WriteString("# Metrics\n\n")
	fmt.Fprintf(&b, "All names start with `%s`. ", Prefix)
	b.WriteString("Label values come from the program alone: units, stages, watches, readouts, channels, devices.\n")
	b.WriteString("A run shows at most 50 + 40 * units label sets; what goes beyond is dropped and counted in `locorun_errors_total{kind=\"metrics\"}`.\n")
	group := ""
	for _, row := range Rows() {
		if row.Group != group {
			group = row.Group
			fmt.Fprintf(&b, "\n## %s\n\n| metric | type | what it says | updated by |\n|---|---|---|---|\n", group)
		}
		fmt.Fprintf(&b, "| `%s%s%s` | %s | %s | %s |\n", Prefix, row.Name, labelList(row.Labels), row.Kind, row.Help, row.Source)
	}
	b.WriteString("\n## Alerts\n\n| alert | severity | for | condition | meaning | what to do |\n|---|---|---|---|---|---|\n")
	for _, a := range alerts() {
		expr := strings.ReplaceAll(a.Expr, "|", `\|`)
		fmt.Fprintf(&b, "| %s | %s | %s | `%s` | %s | %s |\n", a.Name, a.Severity, a.For, expr, plain(a.Summary), a.Remedy)
	}
	return b.String()
}

func labelList(labels []string) string {
	if len(labels) == 0 {
		return ""
	}
	return "{" + strings.Join(labels, ",") + "}"
}

// plain turns the label templates of a summary into words.
func plain(summary string) string {
	summary = strings.ReplaceAll(summary, "{{ $labels.", "`")
	return strings.ReplaceAll(summary, " }}", "`")
}

func alerts() []Alert {
	var all []Alert
	for _, row := range Rows() {
		all = append(all, row.Alerts...)
	}
	return all
}

// Rules is a Prometheus rules file with the alerts of the table.
func Rules() string {
	var b strings.Builder
	b.WriteString("# Alert rules of locorun, generated from its table of metrics.\n")
	b.WriteString("groups:\n- name: locorun\n  rules:\n")
	for _, a := range alerts() {
		fmt.Fprintf(&b, "  - alert: %s\n", a.Name)
		fmt.Fprintf(&b, "    expr: %s\n", yamlString(a.Expr))
		fmt.Fprintf(&b, "    for: %s\n", a.For)
		fmt.Fprintf(&b, "    labels:\n      severity: %s\n", a.Severity)
		fmt.Fprintf(&b, "    annotations:\n      summary: %s\n      description: %s\n", yamlString(a.Summary), yamlString(a.Remedy))
	}
	return b.String()
}

// yamlString quotes for YAML's single-quoted style, where only the quote itself
// needs care.
func yamlString(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
