package plan

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
)

// Kernel is which kernel of the backend an op gets.
type Kernel struct {
	Unit   string `json:"unit"`
	Site   string `json:"site"` // stage, "unit/decoder", or the unit for updates
	Phase  string `json:"phase"`
	Layer  string `json:"layer"`
	Op     string `json:"op"` // kind, with window, stride and groups where it has them
	Kernel string `json:"kernel"`
	FLOPs  int64  `json:"flops_per_batch"`
}

// KernelOf describes an op of a segment and its kernel's name.
func KernelOf(p *ir.Program, s *ir.Segment, o *ir.Op, name string) Kernel {
	return Kernel{
		Unit: p.Units[s.Unit].Name, Site: s.Site, Phase: s.Phase.String(), Layer: o.Layer,
		Op: kindOf(p, o), Kernel: name, FLOPs: o.FLOPs * int64(p.Micros),
	}
}

// kindOf is the op's kind: what decides on a kernel, but for sizes of maps.
func kindOf(p *ir.Program, o *ir.Op) string {
	a, row := o.Attr, op.Rows[o.Code]
	kind := row.Name
	if a.KH > 0 {
		kind += fmt.Sprintf(" %dx%d s%d", a.KH, a.KW, a.Stride)
	}
	if row.MultiplyAdds != nil && a.Groups > 1 {
		if perGroup(p, o) == 1 {
			return kind + " depthwise"
		}
		return kind + fmt.Sprintf(" groups=%d", a.Groups)
	}
	return kind
}

// perGroup is the input channels of a group of a convolution, from its weights
// or their gradient, the only ones of its values that are as high and wide as
// the window.
func perGroup(p *ir.Program, o *ir.Op) int {
	for _, id := range slices.Concat(o.In, o.Out) {
		if id == ir.None {
			continue
		}
		if v := &p.Values[id]; len(v.Shape) == 4 && (v.Kind == ir.Weight || v.Kind == ir.WeightGrad) {
			return v.Shape[3]
		}
	}
	return 0
}

// PrintKernels writes which kernels do what, by stage: the ops that have
// multiply-adds stage by stage, with their share of the batch's, then all
// others. It writes nothing where no backend was asked.
func (pl *Plan) PrintKernels(w io.Writer) error {
	if len(pl.Kernels) == 0 {
		return nil
	}
	b := &strings.Builder{}
	b.WriteString("\nKernels\n")
	rows := [][]string{{"stage", "op", "kernel", "ops", "operations"}}
	last := ""
	for _, g := range groups(pl.Kernels) {
		site, share := g.Site, ""
		if site == "" {
			site = "(all)"
		}
		if g.FLOPs > 0 {
			share = fmt.Sprintf("%.1f%%", 100*float64(g.FLOPs)/float64(pl.FLOPs))
		}
		shown := site
		if site == last {
			shown = ""
		}
		last = site
		rows = append(rows, []string{shown, g.Op, g.Kernel.Kernel, fmt.Sprint(g.count), share})
	}
	table(b, rows...)
	_, err := io.WriteString(w, b.String())
	return err
}

// group is ops of one site and kind that get the same kernel.
type group struct {
	Kernel
	count int
}

// groups joins ops that look alike, in the order of the sites' first ops.
// What has no multiply-adds is joined over all sites, and comes last.
func groups(ks []Kernel) []group {
	var gs []group
	var sites []string
	for _, k := range ks {
		if k.FLOPs == 0 {
			k.Site = "" // no site's name
		}
		if !slices.Contains(sites, k.Site) {
			sites = append(sites, k.Site)
		}
		at := slices.IndexFunc(gs, func(g group) bool { return g.Site == k.Site && g.Op == k.Op && g.Kernel.Kernel == k.Kernel })
		if at < 0 {
			gs = append(gs, group{Kernel: k, count: 1})
			continue
		}
		gs[at].count++
		gs[at].FLOPs += k.FLOPs
	}
	rank := func(g group) int {
		if g.Site == "" {
			return len(sites)
		}
		return slices.Index(sites, g.Site)
	}
	slices.SortStableFunc(gs, func(a, b group) int { return rank(a) - rank(b) })
	return gs
}
