package driver

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// place is where libraries are looked for: folders, or the loader's own paths.
// The name is what a user knows it by.
type place struct {
	name   string
	dirs   []string
	loader bool
}

// places are all of them in the order in which they are asked: what the user
// says, the CUDA toolkit, what the system has, Python's packages.
func places() []place {
	list := []place{
		variable("LOCORUN_CUDA_PATH"),
		variable("CUDA_HOME"),
		{name: "the loader's paths", loader: true},
		{name: "/usr/local/cuda", dirs: below([]string{"/usr/local/cuda"})},
	}
	name, packages := "no Python", []string(nil)
	for _, prefix := range pythons() {
		name = "Python's nvidia/*/lib"
		for _, site := range glob(prefix, "lib*/python3*/site-packages", "lib*/python3*/dist-packages", "local/lib/python3*/dist-packages") {
			packages = append(packages, glob(site, "nvidia/*/lib")...)
		}
	}
	return append(list, place{name: name, dirs: packages})
}

// variable is the place that an environment variable names, a list of folders.
func variable(name string) place {
	value := os.Getenv(name)
	if value == "" {
		return place{name: name + " (not set)"}
	}
	return place{name: name + "=" + value, dirs: below(filepath.SplitList(value))}
}

// below are the folders that libraries lie in under each of some roots: the
// root, a toolkit's folders, or Python's packages where the root is one of
// theirs or an environment.
func below(roots []string) (dirs []string) {
	for _, root := range roots {
		if root == "" {
			continue
		}
		dirs = append(dirs, root)
		dirs = append(dirs, glob(root, "lib64", "lib", "targets/"+target()+"/lib", "*/lib", "nvidia/*/lib", "lib/python3*/site-packages/nvidia/*/lib")...)
	}
	return dirs
}

// target is the toolkit's name for this processor.
func target() string {
	if runtime.GOARCH == "arm64" {
		return "sbsa-linux"
	}
	return "x86_64-linux"
}

// pythons are the prefixes of environments and of the interpreters on PATH,
// which are looked at and not run.
func pythons() (prefixes []string) {
	for _, name := range []string{"VIRTUAL_ENV", "CONDA_PREFIX"} {
		if at := os.Getenv(name); at != "" {
			prefixes = append(prefixes, at)
		}
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		at := filepath.Join(dir, "python3")
		if info, err := os.Stat(at); err != nil || info.IsDir() {
			continue
		}
		prefixes = append(prefixes, filepath.Dir(filepath.Clean(dir)))
		if file, err := filepath.EvalSymlinks(at); err == nil {
			prefixes = append(prefixes, filepath.Dir(filepath.Dir(file)))
		}
		if filepath.Base(dir) == "shims" { // of a manager of versions, which keeps them beside
			prefixes = append(prefixes, glob(filepath.Dir(filepath.Clean(dir)), "versions/*")...)
		}
	}
	if home, err := os.UserHomeDir(); err == nil {
		prefixes = append(prefixes, filepath.Join(home, ".local"))
	}
	return unique(prefixes)
}

// glob is what there is under a root, pattern by pattern, sorted in each. A root
// is a name, whatever characters it has.
func glob(root string, patterns ...string) (found []string) {
	for _, p := range patterns {
		names, err := filepath.Glob(quoted.Replace(root) + string(filepath.Separator) + filepath.FromSlash(p))
		if err == nil { // the pattern is right
			found = append(found, names...)
		}
	}
	return unique(found)
}

// quoted keeps a name's own characters from being a pattern's.
var quoted = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`)

// unique is a list without repetitions, in its order.
func unique(list []string) (once []string) {
	for _, s := range list {
		if !slices.Contains(once, s) {
			once = append(once, s)
		}
	}
	return once
}
