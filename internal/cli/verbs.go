package cli

import (
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/locorun/locorun/dsl/diag"
)

// meant is the verbs that other tools would have called so.
var meant = map[string]string{
	"train": "run", "start": "run", "fit": "run", "validate": "check", "lint": "check", "vet": "check",
	"format": "fmt", "draw": "graph", "dot": "graph", "help": "--help", "init": "new", "create": "new",
	"evaluate": "eval", "test": "eval", "features": "embed", "save": "export", "describe": "plan", "why": "explain",
	"benchmark": "bench", "show": "inspect", "checkpoint": "inspect", "resume": "run", "speed": "bench", "perf": "bench",
}

// misspelt complains about a first word that is neither a verb nor a file, nor
// looks like one.
func misspelt(parser *kong.Kong, word string) error {
	if strings.HasPrefix(word, "-") || strings.ContainsAny(word, `./\`) {
		return nil
	}
	var names []string
	for _, n := range parser.Model.Children {
		names = append(names, n.Name)
	}
	if slices.Contains(names, word) {
		return nil
	}
	if _, err := os.Stat(word); err == nil {
		return nil
	}
	hint := meant[word]
	if hint == "" {
		hint = diag.Suggest(word, names)
	}
	if hint != "" {
		return wrongf("no verb and no file is called %q; did you mean `locorun %s`?", word, hint)
	}
	return wrongf("no verb and no file is called %q; verbs are %s", word, strings.Join(names, ", "))
}

// helpOf is the command whose help says more about a parser's error.
func helpOf(err error) string {
	var p *kong.ParseError
	if errors.As(err, &p) && p.Context != nil {
		if n := p.Context.Selected(); n != nil {
			return n.FullPath()
		}
	}
	return "locorun"
}
