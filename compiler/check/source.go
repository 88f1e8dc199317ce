package check

import (
	"io/fs"
	"path"
	"strings"

	"github.com/locorun/locorun/dsl"
)

// Source gives the text of the files that the places of Check's diagnostics
// name, for diag.Render: the root file, those it imports and the library's. It
// gives nil for a file that cannot be read.
func Source(root *dsl.File, opt Options) func(file string) []byte {
	dir := path.Dir(strings.ReplaceAll(root.Name, `\`, "/"))
	return func(file string) []byte {
		if file == root.Name {
			return root.Source
		}
		var text []byte
		var err error
		if rest, ok := strings.CutPrefix(file, stdPrefix); ok && opt.Std != nil {
			text, err = fs.ReadFile(opt.Std, rest)
		} else if opt.Read != nil {
			key := file
			if dir != "." {
				key = strings.TrimPrefix(file, strings.TrimSuffix(dir, "/")+"/")
			}
			text, err = opt.Read(key)
		}
		if err != nil {
			return nil
		}
		return text
	}
}
