// Package compiler is the way from text to a planned program. It only names
// the steps; each is a package of its own:
//
//	text --dsl.Parse--> dsl.File --check.Check--> model.Net --lower.Train--> ir.Program
//	                                                             |
//	                                            forward, fuse, losses, sweeps,
//	                                            updates, onread, compact, count,
//	                                            memory
//
// Between steps lie plain values that print the same for the same input;
// nothing below here knows Gorgonia.
package compiler

import (
	"io/fs"

	"github.com/locorun/locorun/compiler/check"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
)

// Options are what the command line adds to a file.
type Options struct {
	Defines map[string]string // -D name=value
	Method  string            // loco, gim or e2e; "" is loco
	Std     fs.FS             // the library that `import "std/..."` reads
	// Read reads an imported file, its path relative to the root file's
	// directory.
	Read func(path string) ([]byte, error)
}

// Compile parses and checks a program. The net is nil where the list holds an
// error; warnings may come with a net.
func Compile(name string, src []byte, opt Options) (*model.Net, diag.List) {
	file, found := dsl.Parse(name, src)
	if found.HasErrors() {
		return nil, found
	}
	net, more := check.Check(file, check.Options{Defines: opt.Defines, Method: opt.Method, Std: opt.Std, Read: opt.Read})
	found = append(found, more...)
	if found.HasErrors() {
		return nil, found
	}
	return net, found
}
