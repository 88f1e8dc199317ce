// Command gen writes the assembly of package vector with avo: one family of
// kernels per run, for AVX-512 and for AVX2 with FMA. Family table is the Go
// code that lists them all.
//
//	go run . -family conv -pkg vector -out ../conv_amd64.s -stubs ../conv_amd64.go
//	go run . -family table -out ../table_amd64.go
package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/mmcloughlin/avo/build"
)

// families are the sets of kernels that share a file.
var families = map[string]func(){
	"conv":        convFamily,
	"depthwise":   depthwiseFamily,
	"norm":        normFamily,
	"elementwise": elementwiseFamily,
	"update":      updateFamily,
	"outer":       outerFamily,
	"peak":        peakFamily,
	"pool":        poolFamily,
	"softmax":     softmaxFamily,
}

func main() {
	name := flag.String("family", "", "which kernels to write")
	flag.Parse()
	if *name == "table" {
		if err := table(flag.Lookup("out").Value.String()); err != nil {
			fmt.Fprintln(os.Stderr, "gen:", err)
			os.Exit(1)
		}
		return
	}
	write, ok := families[*name]
	if !ok {
		fmt.Fprintf(os.Stderr, "gen: no family %q; there are %v\n", *name, slices.Sorted(maps.Keys(families)))
		os.Exit(2)
	}
	write()
	build.Generate()
}

// table writes the list of kernels to a file.
func table(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := writeTable(f); err != nil {
		return err
	}
	return f.Close()
}
