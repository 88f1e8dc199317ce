package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the path that the packages of the lattice lie under.
const module = "github.com/locorun/locorun"

// lattice is the map of ARCHITECTURE.md. A row names a package and all that its
// files, tests aside, may import beyond the standard library: packages of this
// module by their directory, others by their path, which stands for the
// packages below it too.
const lattice = `
.                   internal/cli

dsl                 dsl/diag github.com/alecthomas/participle/v2
dsl/diag

compiler            compiler/check compiler/model dsl dsl/diag
compiler/check      compiler/model compiler/op dsl dsl/diag
compiler/model      dsl/diag
compiler/op
compiler/ir         compiler/op dsl/diag
compiler/lower      compiler/ir compiler/memory compiler/model compiler/op dsl/diag
compiler/memory     compiler/ir compiler/op
compiler/plan       compiler/ir compiler/model compiler/op

graphs              compiler/ir compiler/op dsl/diag graphs/device github.com/chewxy/hm gorgonia.org/gorgonia gorgonia.org/tensor
graphs/device       compiler/op
graphs/device/devicetest  graphs/device
graphs/cpu          compiler/op graphs/cpu/vector graphs/device golang.org/x/sys
graphs/cpu/vector   golang.org/x/sys
graphs/cuda/cudatest  graphs/cuda graphs/cuda/driver graphs/cuda/emulate graphs/device
graphs/cuda         compiler/op graphs/cuda/driver graphs/cuda/kernels graphs/device
graphs/cuda/driver  github.com/ebitengine/purego
graphs/cuda/emulate  graphs/cuda/driver github.com/ebitengine/purego
graphs/cuda/kernels
graphs/conformance  compiler/op graphs/device
graphs/std

runtime             compiler/ir compiler/lower compiler/model compiler/op compiler/plan dsl/diag graphs graphs/device runtime/guard runtime/metrics runtime/metrics/stats runtime/optim runtime/pipeline runtime/readout runtime/rng runtime/source
runtime/checkpoint  runtime/disk runtime/export
runtime/disk        golang.org/x/sys
runtime/disk/disktest  runtime/disk
runtime/export
runtime/journal     runtime/disk
runtime/guard
runtime/metrics     github.com/prometheus/client_golang github.com/prometheus/client_model github.com/prometheus/common github.com/prometheus/exporter-toolkit go.yaml.in/yaml/v2
runtime/metrics/stats  gonum.org/v1/gonum
runtime/optim       compiler/model
runtime/pipeline
runtime/readout     compiler/model runtime/rng
runtime/rng
runtime/source      compiler/model runtime/rng runtime/source/vector
runtime/source/vector  golang.org/x/sys

internal/cli        compiler compiler/check compiler/lower compiler/model compiler/op compiler/plan dsl dsl/diag graphs/cpu graphs/cuda graphs/cuda/driver graphs/device graphs/std internal/measure internal/progress runtime runtime/checkpoint runtime/disk runtime/export runtime/journal runtime/metrics runtime/readout runtime/source github.com/alecthomas/kong golang.org/x/term
internal/measure    compiler/op graphs/device runtime/rng
internal/progress   github.com/vbauerster/mpb/v8 golang.org/x/term
internal/reference  compiler/model runtime/rng
internal/semantics
`

// reaches says what a package must not reach, on any way. A name stands for the
// packages below it too, unless it ends in a !; a . after "not" stands for any
// package of this module.
const reaches = `
compiler     not  gorgonia.org github.com/chewxy/hm graphs runtime
dsl          not  compiler graphs runtime internal
graphs       not  dsl! runtime internal
runtime      not  dsl! compiler/check internal
runtime/pipeline not . gorgonia.org
.            not  internal/reference internal/semantics
`

// homes says which packages alone import a dependency.
const homes = `
github.com/alecthomas/participle/v2     dsl
gorgonia.org                            graphs
github.com/chewxy/hm                    graphs
github.com/prometheus                   runtime/metrics
github.com/alecthomas/kong              internal/cli
github.com/ebitengine/purego            graphs/cuda/driver graphs/cuda/emulate
github.com/vbauerster/mpb/v8            internal/progress
`

// imports is who imports what, directories for packages of this module.
type imports map[string][]string

// TestLattice holds the imports of every package to the texts above.
func TestLattice(t *testing.T) {
	for _, complaint := range complaints(readImports(t)) {
		t.Error(complaint)
	}
}

// TestLatticeCatches breaks each rule and looks for the complaint.
func TestLatticeCatches(t *testing.T) {
	for _, c := range []struct{ name, from, to, want string }{
		{"unlisted package", "runtime/util", "compiler/op", "runtime/util has no row"},
		{"import beyond the row", "compiler/op", "compiler/model", "compiler/op imports compiler/model, which its row does not list"},
		{"stdlib only", "runtime/pipeline", "golang.org/x/sys/unix", "runtime/pipeline imports golang.org/x/sys/unix"},
		{"gorgonia under compiler", "compiler/memory", "gorgonia.org/gorgonia", "compiler/memory reaches gorgonia.org/gorgonia"},
		{"gorgonia elsewhere", "graphs/cpu", "gorgonia.org/tensor", "graphs/cpu imports gorgonia.org/tensor, which belongs to graphs alone"},
		{"on a way of several steps", "compiler/op", "graphs", "compiler/lower reaches gorgonia.org/gorgonia"},
		{"tree under runtime", "runtime/optim", "dsl", "runtime reaches dsl by runtime/optim"},
		{"runtime under graphs", "graphs/cpu", "runtime/rng", "graphs/cpu reaches runtime/rng"},
		{"parser elsewhere", "compiler/check", "github.com/alecthomas/participle/v2/lexer", "belongs to dsl alone"},
		{"metrics client elsewhere", "runtime", "github.com/prometheus/client_golang/prometheus", "belongs to runtime/metrics alone"},
		{"the reference in the product", "runtime", "internal/reference", ". reaches internal/reference"},
		{"a row that promises too much", "", "", "compiler/model lists dsl/diag, which it does not import"},
	} {
		t.Run(c.name, func(t *testing.T) {
			have := readImports(t)
			if c.from == "" {
				have["compiler/model"] = nil
			} else {
				have[c.from] = append(have[c.from], c.to)
			}
			got := strings.Join(complaints(have), "\n")
			if !strings.Contains(got, c.want) {
				t.Errorf("want a complaint with %q, have\n%s", c.want, got)
			}
		})
	}
}

// complaints lists what breaks the texts, in order.
func complaints(have imports) []string {
	return slices.Concat(rowComplaints(have), homeComplaints(have), reachComplaints(have))
}

// rowComplaints compares packages with their rows.
func rowComplaints(have imports) (list []string) {
	rows := table(lattice)
	for _, p := range slices.Sorted(maps.Keys(have)) {
		allowed, ok := rows[p]
		if !ok {
			list = append(list, p+" has no row in the lattice: say in deps_test.go and ARCHITECTURE.md what it may import")
			continue
		}
		for _, i := range have[p] {
			if !slices.ContainsFunc(allowed, func(a string) bool { return i == a || strings.Contains(a, ".") && under(i, a) }) {
				list = append(list, fmt.Sprintf("%s imports %s, which its row does not list", p, i))
			}
		}
		for _, a := range allowed {
			if !slices.ContainsFunc(have[p], func(i string) bool { return under(i, a) }) {
				list = append(list, fmt.Sprintf("%s lists %s, which it does not import", p, a))
			}
		}
	}
	for _, p := range slices.Sorted(maps.Keys(rows)) {
		if _, ok := have[p]; !ok {
			list = append(list, "the lattice has a row for "+p+", which is no package")
		}
	}
	return list
}

// homeComplaints finds dependencies outside their homes.
func homeComplaints(have imports) (list []string) {
	for dep, home := range table(homes) {
		for p, is := range have {
			for _, i := range is {
				if under(i, dep) && !slices.Contains(home, p) {
					list = append(list, fmt.Sprintf("%s imports %s, which belongs to %s alone", p, i, strings.Join(home, ", ")))
				}
			}
		}
	}
	slices.Sort(list)
	return list
}

// reachComplaints follows imports to what must not be reached.
func reachComplaints(have imports) (list []string) {
	for from, words := range table(reaches) {
		for p := range have {
			if p != from && (from == "." || !under(p, from)) {
				continue
			}
			for _, target := range words[1:] {
				if way := have.way(p, target); way != nil {
					list = append(list, fmt.Sprintf("%s reaches %s by %s", p, way[len(way)-1], strings.Join(way[:len(way)-1], ", ")))
				}
			}
		}
	}
	slices.Sort(list)
	return list
}

// way is a shortest way from a package to a target, without its start; nil
// where there is none. The target "." is any package of the module.
func (have imports) way(from, target string) []string {
	exact := strings.HasSuffix(target, "!")
	target = strings.TrimSuffix(target, "!")
	hit := func(p string) bool {
		_, own := have[p]
		return p == target || !exact && under(p, target) || target == "." && own
	}
	ways, seen := [][]string{nil}, map[string]bool{}
	for len(ways) > 0 {
		way := ways[0]
		ways = ways[1:]
		at := from
		if len(way) > 0 {
			at = way[len(way)-1]
		}
		for _, i := range have[at] {
			next := append(slices.Clone(way), i)
			if hit(i) {
				return next
			}
			if !seen[i] {
				seen[i] = true
				ways = append(ways, next)
			}
		}
	}
	return nil
}

// under reports whether a package is another or lies below it.
func under(p, of string) bool { return p == of || strings.HasPrefix(p, of+"/") }

// table reads lines of words by their first.
func table(text string) map[string][]string {
	rows := map[string][]string{}
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 0 {
			rows[words[0]] = words[1:]
		}
	}
	return rows
}

// readImports reads the imports of every file that is no test, whatever system
// it is built for.
func readImports(t *testing.T) imports {
	have := imports{}
	for path, f := range sources(t, parser.ImportsOnly) {
		dir := filepath.ToSlash(filepath.Dir(path))
		have[dir] = append(have[dir], importsOf(f)...)
	}
	for dir, list := range have {
		slices.Sort(list)
		have[dir] = slices.Compact(list)
	}
	return have
}

// importsOf names what a file imports beyond the standard library.
func importsOf(f *ast.File) (list []string) {
	for _, spec := range f.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the file would not compile
		}
		first, _, _ := strings.Cut(path, "/")
		switch own, ok := strings.CutPrefix(path, module+"/"); {
		case ok:
			list = append(list, own)
		case strings.Contains(first, "."):
			list = append(list, path)
		}
	}
	return list
}

// sources parses the module's Go files that are no tests, by path.
func sources(t *testing.T, mode parser.Mode) map[string]*ast.File {
	files := map[string]*ast.File{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (name == "testdata" || path != "." && strings.HasPrefix(name, ".")) {
			return fs.SkipDir
		}
		if _, err := os.Stat(filepath.Join(path, "go.mod")); d.IsDir() && path != "." && err == nil {
			return fs.SkipDir // a module of its own
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, mode)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
