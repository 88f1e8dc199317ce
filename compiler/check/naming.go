package check

import (
	"strconv"

	"github.com/locorun/locorun/compiler/model"
)

// naming gives the weights of a stage, a block or a shortcut their names; see
// the package comment.
type naming struct {
	path   string // before the names, within the stage
	lines  string // before the exported names of lines
	blocks string // before the exported names of blocks
	n      map[string]int
	// plain numbers everything from 0 without saying what it is, as the
	// modules of a shortcut are.
	plain bool
	// export is unset in decoders, which are not exported.
	export bool
}

// stageNames is the naming of a stage's top level.
func stageNames(name, as string) *naming {
	n := &naming{n: map[string]int{}, export: true, lines: name + ".", blocks: name + "."}
	if as != "" {
		n.lines, n.blocks = "", as+"."
	}
	return n
}

// decoderNames is the naming of a decoder's top level.
func decoderNames() *naming { return &naming{n: map[string]int{}} }

// kindNames are the names of the layers that have weights.
var kindNames = map[model.LayerKind]string{model.Conv: "conv", model.Norm: "bn", model.Dense: "fc"}

// count gives the next number of a thing.
func (n *naming) count(what string) int {
	n.n[what]++
	return n.n[what]
}

// weight names a layer; as is its exported name where one was written.
func (n *naming) weight(l *model.Layer, as string) {
	base := ""
	if n.plain {
		base = strconv.Itoa(n.count("") - 1)
	} else {
		kind := kindNames[l.Kind]
		base = kind + strconv.Itoa(n.count(kind))
	}
	l.Name = n.path + base
	if as != "" {
		base = as
	}
	if n.export {
		l.Export = n.lines + base
	}
}

// block is the naming within the next block.
func (n *naming) block(as string) *naming {
	what := "block"
	if n.plain {
		what = ""
	}
	index := strconv.Itoa(n.count(what) - 1)
	path := n.path + index + "."
	if as != "" {
		index = as
	}
	return n.within(path, n.blocks+index+".")
}

// shortcut is the naming within the next shortcut.
func (n *naming) shortcut() *naming {
	base := "downsample"
	if k := n.count(base); k > 1 {
		base += strconv.Itoa(k)
	}
	s := n.within(n.path+base+".", n.lines+base+".")
	s.plain = true
	return s
}

func (n *naming) within(path, export string) *naming {
	return &naming{path: path, lines: export, blocks: export, n: map[string]int{}, export: n.export}
}
