// Command gen writes the assembly of package vector with avo, for AVX2 and for
// AVX-512, and the Go code that chooses between them.
//
//	go run . -family views -pkg vector -out ../views_amd64.s -stubs ../views_amd64.go
//	go run . -family tiers -out ../tiers_amd64.go
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/mmcloughlin/avo/build"
)

func main() {
	name := flag.String("family", "", "what to write: views or tiers")
	flag.Parse()
	switch *name {
	case "views":
		for _, s := range []isa{{"AVX2", 8}, {"AVX512", 16}} {
			s.planes()
			s.filters()
			s.colours()
		}
		build.Generate()
	case "tiers":
		if err := os.WriteFile(flag.Lookup("out").Value.String(), tiers(), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "gen:", err)
			os.Exit(1)
		}
	default:
		fmt.Fprintf(os.Stderr, "gen: no family %q\n", *name)
		os.Exit(2)
	}
}
