package driver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// nowhereElse hides whatever libraries this machine has outside the loader's
// paths, and skips where there are some in them.
func nowhereElse(t *testing.T) {
	t.Helper()
	for _, name := range []string{"LOCORUN_CUDA_PATH", "CUDA_HOME", "VIRTUAL_ENV", "CONDA_PREFIX", "PATH"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
	for l := range numLibs {
		if b, err := open(l); err == nil {
			t.Skipf("this machine has %s", b.path)
		}
	}
}

// TestFindNothing says of each library where it was looked for.
func TestFindNothing(t *testing.T) {
	nowhereElse(t)
	t.Setenv("CUDA_HOME", "/there/is/none")
	f := Find()
	if len(f.Libraries) != int(numLibs) || f.Err == nil || f.Err.Error() != "no driver" || f.Cards != nil {
		t.Errorf("found %+v", f)
	}
	want := "libnvrtc.so.13 (the compiler of kernels): not found; looked for libnvrtc.so.13 and libnvrtc.so.12 in LOCORUN_CUDA_PATH (not set), CUDA_HOME=/there/is/none, the loader's paths, /usr/local/cuda, "
	if got := f.Libraries[libnvrtc].String(); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "; without it no card can be used") {
		t.Errorf("have %s\nwant %s...", got, want)
	}
	for what, open := range map[string]func() error{
		"libcuda.so.1: not found":   func() error { _, err := Open(0); return err },
		"libnvrtc.so.13: not found": func() error { _, err := NewCompiler(); return err },
	} {
		if err := open(); err == nil || !strings.HasPrefix(err.Error(), what) {
			t.Errorf("want %q, have %v", what, err)
		}
	}
}

// TestFindAll lists the imaginary libraries and cards, a line each.
func TestFindAll(t *testing.T) {
	newFake(t)
	f := Find()
	if f.Err != nil {
		t.Fatal(f.Err)
	}
	var lines []string
	for _, l := range f.Libraries {
		if l.Name != "libnvrtc.so.13" { // of which there is no fake
			lines = append(lines, l.String())
		}
	}
	for _, c := range f.Cards {
		lines = append(lines, c.String())
	}
	want := []string{
		"libcuda.so.1 (the driver): CUDA 13.0, " + fakeFolder + "/libcuda.so.1",
		"libcublasLt.so.13 (matrix products): 13.4.1, " + fakeFolder + "/libcublasLt.so.13",
		"libcudnn.so.9 (convolutions): 9.26.0 for CUDA 13.2, " + fakeFolder + "/libcudnn.so.9",
		"libnvidia-ml.so.1 (memory and load of cards): driver 580.1.2, " + fakeFolder + "/libnvidia-ml.so.1",
		"cuda:0: Imaginary A100, compute capability 8.0, 0.2 GiB",
		"cuda:1: Imaginary B200, compute capability 9.0, 0.2 GiB",
	}
	if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("have\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	for _, line := range lines {
		if strings.Contains(line, "\n") {
			t.Errorf("more than a line: %q", line)
		}
	}
}

// TestFindNoCard tells what the driver says, and finds the rest all the same.
func TestFindNoCard(t *testing.T) {
	newFake(t).reset(-1, 13000)
	f := Find()
	if f.Err == nil || f.Err.Error() != "cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected" || f.Libraries[libcublasLt].Err != nil {
		t.Errorf("%v; %v", f.Err, f.Libraries)
	}
}

// TestFindPlaces puts a library where it may be and looks whether it is found
// there: a link to the fake, since a file is opened once.
func TestFindPlaces(t *testing.T) {
	newFake(t)
	for _, c := range []struct{ name, variable, value, under string }{
		{"the folder itself", "LOCORUN_CUDA_PATH", "", "."},
		{"the second of a list", "LOCORUN_CUDA_PATH", "/there/is/none:", "."},
		{"a package of Python's", "LOCORUN_CUDA_PATH", "", "cu13/lib"},
		{"Python's packages", "LOCORUN_CUDA_PATH", "", "nvidia/cu13/lib"},
		{"a toolkit", "CUDA_HOME", "", "lib64"},
		{"a toolkit's target", "CUDA_HOME", "", "targets/" + target() + "/lib"},
		{"an environment", "VIRTUAL_ENV", "", "lib/python3.11/site-packages/nvidia/cu13/lib"},
		{"characters of patterns", "VIRTUAL_ENV", "", "[a*]/../lib/python3.12/site-packages/nvidia/cu13/lib"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range []string{"LOCORUN_CUDA_PATH", "CUDA_HOME", "VIRTUAL_ENV", "CONDA_PREFIX", "PATH"} {
				t.Setenv(name, "")
			}
			root := t.TempDir()
			t.Setenv(c.variable, c.value+root)
			link(t, root, c.under)
			found := false
			for _, p := range places() {
				if b, err := p.open(libcublasLt, "libcublasLt.so.13"); b != nil {
					found = strings.HasPrefix(p.name, c.variable) || strings.HasPrefix(p.name, "Python")
					break
				} else if err != nil {
					t.Error(err)
				}
			}
			if !found {
				t.Error("not found there")
			}
		})
	}
}

// TestFindInterpreter finds the packages of the python3 on PATH, and of a
// manager's versions, without running either.
func TestFindInterpreter(t *testing.T) {
	newFake(t)
	for name, c := range map[string]struct{ python, packages string }{
		"beside":     {"env/bin/python3", "env/lib/python3.13/site-packages/nvidia/cu13/lib"},
		"a manager":  {"all/shims/python3", "all/versions/3.12.1/lib/python3.12/site-packages/nvidia/cu13/lib"},
		"of Debian":  {"usr/bin/python3", "usr/local/lib/python3.11/dist-packages/nvidia/cu13/lib"},
		"with [ ] *": {"[x]*/bin/python3", "[x]*/lib/python3.13/site-packages/nvidia/cu13/lib"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			python := filepath.Join(root, c.python)
			ok(t, os.MkdirAll(filepath.Dir(python), 0o700))
			ok(t, os.WriteFile(python, []byte("exit 1"), 0o700))
			link(t, root, c.packages)
			t.Setenv("PATH", filepath.Dir(python))
			t.Setenv("VIRTUAL_ENV", "")
			t.Setenv("CONDA_PREFIX", "")
			list := places()
			if last := list[len(list)-1]; len(last.dirs) == 0 || last.dirs[0] != filepath.Join(root, c.packages) {
				t.Errorf("looked in %v", last.dirs)
			}
		})
	}
}

// link puts the fake of cuBLASLt into a folder.
func link(t *testing.T, root, under string) {
	t.Helper()
	dir := filepath.Join(root, under)
	if strings.Contains(under, "[") {
		ok(t, os.MkdirAll(filepath.Join(root, "[a*]"), 0o700))
	}
	ok(t, os.MkdirAll(dir, 0o700))
	ok(t, os.Symlink(filepath.Join(fakeFolder, "libcublasLt.so.13"), filepath.Join(dir, "libcublasLt.so.13")))
}

// TestFindRefuses passes over what is no library, too old a library, and one
// that is newer than the driver.
func TestFindRefuses(t *testing.T) {
	f := newFake(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "libnvrtc.so.13")
	for _, c := range []struct {
		name, want string
		version    int
		make       func() error
	}{
		{"a text", file + ": ", 13000, func() error { return os.WriteFile(file, []byte("no library"), 0o600) }},
		{"another library", file + " has no nvrtcVersion, nvrtcGetErrorString, ", 13000, func() error {
			_ = os.Remove(file)
			return os.Symlink(filepath.Join(fakeFolder, "libcublasLt.so.13"), file)
		}},
		{"an old driver", "libnvrtc.so.13 is of no use with a driver that knows CUDA 12", 12080, func() error { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ok(t, c.make())
			f.reset(1, c.version)
			t.Setenv("LOCORUN_CUDA_PATH", dir+":"+fakeFolder)
			got := ""
			for _, l := range Find().Libraries {
				if l.Err != nil && l.Name == "libnvrtc.so.13" {
					got = l.Err.Error()
				}
			}
			if b, err := open(libnvrtc); err == nil {
				t.Skipf("this machine has %s", b.path)
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("want %q in %q", c.want, got)
			}
		})
	}
}
