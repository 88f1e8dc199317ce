package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/locorun/locorun/runtime/disk"
)

// longestLine bounds a line of metrics.jsonl, in bytes; the longest that is
// written has some hundreds.
const longestLine = 1 << 16

// cutLines drops from metrics.jsonl the batches after step, the readouts of step
// and later and of those in again, and what is no whole line of ours. The order
// of the rest stays.
func cutLines(tree disk.FS, step int, again []int) error {
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
			if r, ok := recordOf(line); !ok || !r.stays(step, again) {
				return nil
			}
			_, err := w.Write(line)
			return err
		})
	})
}

// ReadoutsOf counts the readouts that are written down, by step.
func ReadoutsOf(tree disk.FS) (map[int]int, error) {
	counts := map[int]int{}
	f, err := tree.Open(linesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return counts, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", linesFile, disk.Cause(err))
	}
	defer f.Close() // nothing is written to it
	return counts, eachLine(io.NewSectionReader(f, 0, f.Size()), func(line []byte) error {
		if r, ok := recordOf(line); ok && r.Kind == "readout" {
			counts[r.Step]++
		}
		return nil
	})
}

// record is what tells lines apart.
type record struct {
	Kind string
	Step int
}

func recordOf(line []byte) (r record, ok bool) {
	ok = json.Unmarshal(line, &r) == nil && r.Step >= 1
	return r, ok
}

// stays reports whether a line is of what happened up to step and is not made
// again.
func (r record) stays(step int, again []int) bool {
	if r.Kind == "readout" {
		return r.Step < step && !slices.Contains(again, r.Step)
	}
	return r.Kind == "batch" && r.Step <= step
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
