package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/locorun/locorun/runtime/disk"
)

// chooser is a backend that measures which kernels are fastest, and is to compute
// by the same ones where a run goes on.
type chooser interface {
	Choices() []byte
	SetChoices([]byte) error
}

// kernelsFile lies in a run directory and has a chooser's choices. Checkpoints
// have them too; the file may have some that were made since.
const kernelsFile = "kernels.json"

// takeChoices lets the run compute by the kernels of the run that it goes on
// from. With --allow tier they may be others.
func (s *session) takeChoices(from *origin) error {
	if s.chooser == nil {
		return nil
	}
	text := []byte(from.content.About[aboutKernels])
	if s.own(from) {
		newer, err := s.keptChoices()
		if err != nil {
			return wrongf("run directory %s: %s: %w", s.dir.Path, kernelsFile, err)
		}
		if newer != nil {
			text = newer
		}
	}
	if len(text) == 0 {
		return nil // made where nothing is chosen
	}
	err := s.chooser.SetChoices(text)
	switch {
	case err == nil:
		return nil
	case slices.Contains(s.cmd.Allow, "tier"):
		s.screen.warn(fmt.Errorf("%w; kernels are chosen anew", err))
		return nil
	}
	return wrongf("cannot go on from %s: %w; go on with other kernels by --allow tier: the same meaning, rounded otherwise", from.path, err)
}

// keptChoices reads the file, nil where there is none.
func (s *session) keptChoices() ([]byte, error) {
	f, err := s.dir.FS.Open(kernelsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, disk.Cause(err)
	}
	defer f.Close() // nothing is written
	text, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	return text, disk.Cause(err)
}

// keepChoices puts the choices so far into the file and into the checkpoint that
// is about to be saved.
func (s *session) keepChoices() {
	if s.chooser == nil {
		return
	}
	text := s.chooser.Choices()
	if s.about[aboutKernels] == string(text) {
		return
	}
	s.about[aboutKernels] = string(text)
	err := disk.WriteFile(s.dir.FS, kernelsFile, func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(text))
		return err
	})
	if err != nil { // the checkpoint has them
		s.log.Error("the choices of kernels could not be saved beside the checkpoints; training goes on", "file", kernelsFile, "error", err)
	}
}
