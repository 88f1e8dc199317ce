package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"

	"github.com/locorun/locorun/runtime/disk"
)

// longestLine bounds a line of metrics.jsonl, in bytes; the longest that is
// written has some hundreds.
const longestLine = 1 << 16

// cutLines drops from metrics.jsonl the batches after step, the readouts of step
// and later, and what is no whole line of ours. The order of the rest stays.
func cutLines(tree disk.FS, step int) error {
	f, err := tree.Open(linesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return disk.Cause(err)
	}
	defer f.Close() // nothing is written to it
	return disk.WriteFile(tree, linesFile, func(w io.Writer) error {
		return eachLine(io.NewSectionReader(f, 0, f.Size()), func(line []byte) error {
			if !stays(line, step) {
				return nil
			}
			_, err := w.Write(line)
			return err
		})
	})
}

// stays reports whether a line is of what happened up to step.
func stays(line []byte, step int) bool {
	var r struct {
		Kind string
		Step int
	}
	if json.Unmarshal(line, &r) != nil || r.Step < 1 {
		return false
	}
	return r.Kind == "batch" && r.Step <= step || r.Kind == "readout" && r.Step < step
}

// eachLine calls do with every whole line, its end included, but for overlong
// ones.
func eachLine(r io.Reader, do func([]byte) error) error {
	lines := bufio.NewReaderSize(r, longestLine)
	long := false
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case err == nil && !long:
			if err := do(line); err != nil {
				return err
			}
		case err == io.EOF:
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return disk.Cause(err)
		}
		long = err != nil
	}
}
