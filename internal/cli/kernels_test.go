package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/checkpoint"
	"github.com/locorun/locorun/runtime/disk"
	"github.com/locorun/locorun/runtime/journal"
)

// choosing is a chooser that has the choices it was told, and refuses some.
type choosing struct{ has, refuses string }

func (c *choosing) Choices() []byte { return []byte(c.has) }

func (c *choosing) SetChoices(text []byte) error {
	if string(text) == c.refuses {
		return errors.New("cuda: " + c.refuses + " is not offered here")
	}
	c.has = string(text)
	return nil
}

// choosingSession is a session in a directory, with a checkpoint there that has
// choices.
func choosingSession(t *testing.T, kernels string) (*session, *origin) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, journal.CheckpointsDir), 0o700); err != nil {
		t.Fatal(err)
	}
	tree, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	env := &Env{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}}
	s := &session{
		cmd: &runCmd{}, env: env, about: map[string]string{}, screen: newScreen(env, &model.Net{}),
		dir: &journal.Directory{Path: dir, FS: tree}, chooser: &choosing{refuses: "gone"},
	}
	content := &checkpoint.Content{About: map[string]string{aboutKernels: kernels}}
	return s, &origin{filepath.Join(dir, journal.CheckpointsDir, "1"), content}
}

// misuse reports whether an error ends with exit code 2.
func misuse(err error) bool { return exitCode(err, Env{Stderr: &bytes.Buffer{}}) == 2 }

// TestTakeChoices: a run that goes on computes by the kernels of its checkpoint,
// or by those that its directory has of later.
func TestTakeChoices(t *testing.T) {
	for _, c := range []struct {
		name, about, file string
		other             bool // the checkpoint lies in another directory
		allow             []string
		want, refused     string
	}{
		{"nothing", "", "", false, nil, "", ""},
		{"the checkpoint's", "a", "", false, nil, "a", ""},
		{"the directory's", "a", "b", false, nil, "b", ""},
		{"not another's", "a", "b", true, nil, "a", ""},
		{"gone", "gone", "", false, nil, "", "cuda: gone is not offered here; go on with other kernels by --allow tier: the same meaning, rounded otherwise"},
		{"gone, and others allowed", "gone", "", false, []string{"tier"}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, from := choosingSession(t, c.about)
			s.cmd.Allow = c.allow
			if c.file != "" {
				if err := os.WriteFile(filepath.Join(s.dir.Path, kernelsFile), []byte(c.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.other {
				from.path = filepath.Join(t.TempDir(), journal.CheckpointsDir, "1")
			}
			err := s.takeChoices(from)
			if got := s.chooser.(*choosing).has; got != c.want {
				t.Errorf("has %q, not %q", got, c.want)
			}
			switch {
			case c.refused == "" && err != nil:
				t.Error(err)
			case c.refused != "" && (err == nil || !misuse(err) || err.Error() != "cannot go on from "+from.path+": "+c.refused):
				t.Errorf("got %v, not %s", err, c.refused)
			}
		})
	}
}

// TestKeepChoices: what was chosen goes into the file and the checkpoint.
func TestKeepChoices(t *testing.T) {
	s, from := choosingSession(t, "")
	for _, has := range []string{"a", "ab", "ab"} {
		s.chooser.(*choosing).has = has
		s.keepChoices()
		text, err := os.ReadFile(filepath.Join(s.dir.Path, kernelsFile))
		if err != nil || string(text) != has || s.about[aboutKernels] != has {
			t.Errorf("file %q (%v), checkpoint %q, not %q", text, err, s.about[aboutKernels], has)
		}
	}
	s.chooser = nil
	s.keepChoices()
	if err := s.takeChoices(from); err != nil {
		t.Error(err)
	}
}

// TestPrecisionOnProcessor: a processor computes in float32 alone.
func TestPrecisionOnProcessor(t *testing.T) {
	for _, in := range []model.Precision{model.TF32, model.BF16} {
		_, err := (&runCmd{Device: "cpu"}).backend(&Env{}, &model.Net{Train: model.Train{Precision: in}})
		want := "precision " + in.String() + " is a card's: a processor computes in f32; run with --device cuda, or write precision f32"
		if err == nil || !strings.HasPrefix(err.Error(), want) || !misuse(err) {
			t.Errorf("got %v, not %s", err, want)
		}
	}
}
