package check

import (
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/graphs/std"
	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzCheck checks any text in any method: no panic, an end, and a model
// exactly where there is no error. The time it allows is there to find a hang.
func FuzzCheck(f *testing.F) {
	for _, dir := range []string{"good", "wrong"} {
		paths, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
		if err != nil {
			f.Fatal(err)
		}
		for i, path := range paths {
			a, err := txtar.ParseFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(a.Files[0].Data), byte(i))
		}
	}
	self := func(text string) func(string) ([]byte, error) {
		return func(name string) ([]byte, error) {
			if name == "self.loco" {
				return []byte(text), nil
			}
			return nil, fs.ErrNotExist
		}
	}
	f.Fuzz(func(t *testing.T, text string, m byte) {
		file, list := dsl.Parse("fuzz.loco", []byte(text))
		if list.HasErrors() {
			return
		}
		start := time.Now()
		net, list := Check(file, Options{
			Std: std.Files, Method: methods[int(m)%len(methods)], Read: self(text),
			Defines: map[string]string{"width": "8"},
		})
		if (net == nil) != list.HasErrors() {
			t.Error("a model beside errors, or none without")
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("checking took %v", d)
		}
		for _, d := range list {
			if d.Code == "" || d.Message == "" {
				t.Errorf("an empty diagnostic: %+v", d)
			}
		}
	})
}
