package emulate

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

//go:embed shim.h
var shim string

//go:embed host.h
var host string

// compiler makes images by g++; it satisfies driver.Compiler.
type compiler struct {
	path   string // of g++
	folder string // for what it writes
}

// Version implements driver.Compiler.
func (c *compiler) Version() string { return "emulated" }

// Compile implements driver.Compiler: an image is a shared library.
func (c *compiler) Compile(name, source string, _ int) ([]byte, error) {
	folder, err := os.MkdirTemp(c.folder, "compile-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	expanded, err := c.expand(folder, name, source)
	if err != nil {
		return nil, err
	}
	list, err := declarations(expanded)
	if err != nil {
		return nil, err
	}
	library := filepath.Join(folder, "image.so")
	text := program(name, source, list)
	if _, err := c.run(folder, name+".cc", text, "-O1", "-ffp-contract=off",
		"-fsanitize=alignment", "-fsanitize-undefined-trap-on-error", "-fcf-protection=none", "-U_FORTIFY_SOURCE",
		"-fvisibility=hidden", "-fno-exceptions", "-shared", "-fPIC", "-o", library); err != nil {
		return nil, err
	}
	return os.ReadFile(library)
}

// expand is the source after the preprocessor, which knows none of CUDA's words
// and so leaves them as they are.
func (c *compiler) expand(folder, name, source string) (string, error) {
	return c.run(folder, name+".pre.cc", source, "-E", "-P", "-o", "-")
}

// run runs g++ on a text in the folder, and returns what it printed.
func (c *compiler) run(folder, name, text string, args ...string) (string, error) {
	path := filepath.Join(folder, filepath.Base(name))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", err
	}
	var out, log strings.Builder
	cmd := exec.Command(c.path, append([]string{"-std=c++17", "-w", "-x", "c++", path}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("g++: %w\n%s", err, log.String())
	}
	return out.String(), nil
}

// declaration is a kernel: its name and the types of its parameters.
type declaration struct {
	name  string
	types []string
}

var (
	kernelHead = regexp.MustCompile(`extern\s*"C"\s*__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)`)
	anyKernel  = regexp.MustCompile(`__global__`)
	dynamic    = regexp.MustCompile(`extern\s+__shared__\s+(?:__align__\s*\(\d+\)\s*)?(\w[\w\s]*?)\s+(\w+)\s*\[\s*\]\s*;`)
	lastWord   = regexp.MustCompile(`\w+$`)
)

// declarations finds the kernels of an expanded source.
func declarations(expanded string) ([]declaration, error) {
	var list []declaration
	for _, m := range kernelHead.FindAllStringSubmatch(expanded, -1) {
		d := declaration{name: m[1]}
		for p := range strings.SplitSeq(m[2], ",") {
			if p = strings.TrimSpace(p); p != "" {
				d.types = append(d.types, parameterType(p))
			}
		}
		list = append(list, d)
	}
	if n := len(anyKernel.FindAllString(expanded, -1)); n != len(list) {
		return nil, fmt.Errorf("emulate: %d kernels, of which %d are written extern \"C\" __global__ void", n, len(list))
	}
	if len(list) == 0 {
		return nil, errors.New("emulate: no kernel")
	}
	return list, nil
}

// parameterType is a parameter without its name.
func parameterType(p string) string {
	t := strings.TrimSpace(strings.TrimSuffix(p, lastWord.FindString(p)))
	return strings.TrimSpace(strings.ReplaceAll(t, "__restrict__", ""))
}

// class says what a parameter's word holds: p an address, i at most 32 bits, l
// 64 bits.
func class(t string) byte {
	switch {
	case strings.Contains(t, "*"):
		return 'p'
	case t == "ll" || strings.Contains(t, "long") || t == "double" || strings.Contains(t, "64") || t == "size_t":
		return 'l'
	}
	return 'i'
}

// signature is a kernel as a line of the image's list: name, classes.
func (d declaration) signature() string {
	classes := make([]byte, len(d.types))
	for i, t := range d.types {
		classes[i] = class(t)
	}
	return d.name + " " + string(classes)
}

// program is the text of an image: the kernels between what they take for granted
// and what runs them.
func program(name, source string, list []declaration) string {
	var b strings.Builder
	b.WriteString(shim)
	// Nothing is seen outside, so that shared memory of templates is not merged.
	fmt.Fprintf(&b, "namespace {\n#line 1 %q\n%s\n}\n#line 1 \"host.h\"\n%s\n", name,
		dynamic.ReplaceAllString(source, "$1 *$2 = ($1 *)emulate_dynamic;"), host)
	signatures, cases := "", ""
	for i, d := range list {
		args := make([]string, len(d.types))
		for k, t := range d.types {
			args[k] = fmt.Sprintf("emulate_word<%s>(w[%d])", t, k)
		}
		fmt.Fprintf(&b, "static void emulate_call_%s(const Word *w) { %s(%s); }\n", d.name, d.name, strings.Join(args, ", "))
		cases += fmt.Sprintf("  case %d: return emulate_call_%s;\n", i, d.name)
		signatures += d.signature() + `\n`
	}
	fmt.Fprintf(&b, "static Call emulate_call(long i) {\n  switch (i) {\n%s  }\n  return 0;\n}\n", cases)
	fmt.Fprintf(&b, listText, signatures)
	return b.String()
}

// listText gives the image's list of kernels out: emulate_list copies it to a
// buffer, and says how long it is.
const listText = `extern "C" __attribute__((visibility("default"))) long emulate_list(char *to, long size) {
  static const char list[] = "%s";
  memcpy(to, list, size < (long)sizeof list ? size : sizeof list);
  return sizeof list - 1;
}
`
