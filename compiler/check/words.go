package check

import (
	"slices"
	"strings"

	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
)

// The words a statement may begin with, by the place it stands in.
var (
	rootWords     = []string{"loco", "param", "let", "import", "data", "views", "block", "stage", "decoder", "unit", "overlap", "watch", "train", "readout"}
	importedWords = []string{"loco", "import", "let", "block", "decoder", "views"}
	dataWords     = []string{"images", "train", "test", "channels", "normalise"}
	viewWords     = []string{"crop", "centre", "resize", "flip", "jitter", "grey", "blur"}
	layerWords    = []string{"conv", "norm", "relu", "pool", "dense", "resize", "shuffle", "residual", "split", "fork", "repeat"}
	innerWords    = []string{"shortcut", "branch"}
	trainWords    = []string{"batch", "microbatch", "epochs", "seed", "loss", "optimizer", "schedule", "units", "precision", "on_nan", "on_divergence", "on_collapse"}
	unitWords     = []string{"loss", "lr", "optimizer", "schedule", "on_nan", "on_divergence", "on_collapse"}
	linearWords   = []string{"on", "every", "fit", "standardise", "train_view", "test_view"}
	knnWords      = []string{"on", "every", "k", "temperature", "test_view"}
)

// settingWords are the settings of train that stand for a number inside it.
var settingWords = []string{"batch", "microbatch", "epochs", "seed"}

// places lists the blocks that have words of their own, for saying where a
// word belongs.
var places = []struct {
	name  string
	words []string
}{
	{"at the top level", rootWords},
	{"in data { }", dataWords},
	{"in views { }", viewWords},
	{"in a stage, a block or a decoder", layerWords},
	{"in train { }", trainWords},
	{"in the braces of a unit", unitWords},
	{"in readout linear { }", linearWords},
	{"in readout knn { }", knnWords},
}

// connectives are words that join the parts of a statement, and the two
// truths; no name may be one of them.
var connectives = []string{"in", "as", "also", "yes", "no"}

// reserved are words of later versions.
var reserved = []string{"queue", "keys", "segment", "detect", "feedback"}

// synonyms are the field's other words for what the language has.
var synonyms = map[string]string{
	"projector": "decoder", "head": "decoder", "projection": "decoder", "neck": "decoder",
	"probe": "readout", "eval": "readout", "evaluate": "readout", "classifier": "readout",
	"bn": "norm", "batchnorm": "norm", "batch_norm": "norm", "groupnorm": "norm group=8", "normalize": "normalise",
	"fc": "dense", "linear": "dense", "mlp": "dense",
	"maxpool": "pool max", "max_pool": "pool max", "avgpool": "pool mean", "avg_pool": "pool mean", "gap": "pool mean",
	"average": "mean", "avg": "mean", "maximum": "max",
	"augment": "views", "augmentation": "views", "transform": "views", "transforms": "views", "view": "views",
	"dataset": "data", "encoder": "stage", "layer": "stage", "module": "unit", "share": "overlap", "shared": "overlap",
	"const": "let", "def": "block", "include": "import", "use": "import", "training": "train",
	"conv2d": "conv", "convolution": "conv", "upsample": "resize", "interpolate": "resize", "skip": "residual", "concat": "fork",
	"color": "jitter", "colour": "jitter", "color_jitter": "jitter", "gray": "grey", "grayscale": "grey",
	"center": "centre", "center_crop": "centre", "random_crop": "crop", "hflip": "flip", "gaussian_blur": "blur",
	"batch_size": "batch", "micro_batch": "microbatch", "optimiser": "optimizer", "scheduler": "schedule", "learning_rate": "lr",
	"temp": "temperature", "tau": "temperature", "wd": "weight_decay", "decay": "weight_decay", "kernel": "K", "padding": "pad",
	"filters": "out", "strides": "stride", "group": "groups", "probability": "p", "prob": "p", "adam": "adamw", "infonce": "ntxent",
	"nt_xent": "ntxent", "sequential": "in_turn", "parallel": "together", "identity": "branch { }", "standardize": "standardise", "val": "test", "valid": "test", "unlabeled": "unlabelled",
}

// isStatementWord reports whether some statement begins with the word.
func isStatementWord(word string) bool {
	for _, p := range places {
		if slices.Contains(p.words, word) {
			return true
		}
	}
	return slices.Contains(innerWords, word) || slices.Contains(reserved, word)
}

// suggestion is what was likely meant by word among candidates, or "".
func (c *checker) suggestion(word string, candidates []string) string {
	if s := synonyms[word]; s != "" {
		first, _, _ := strings.Cut(s, " ")
		if slices.Contains(candidates, first) {
			return s
		}
	}
	if !c.suggests() || len(candidates) > maxCandidates {
		return ""
	}
	return diag.Suggest(word, candidates)
}

// The number of findings up to which suggestions are looked for, and of words
// they are looked for among: to compare every word of a junk file with every
// other would take minutes.
const (
	maxSuggested  = 50
	maxCandidates = 1000
)

// suggests reports whether it is still worth while to look for suggestions.
func (c *checker) suggests() bool { return len(c.found) <= maxSuggested }

// unknownWord reports a statement whose word means nothing in its place.
func (c *checker) unknownWord(s *dsl.Statement, place string, words []string) {
	w := s.Word.Text
	if slices.Contains(reserved, w) {
		c.errorf(codeReserved, s.Word.Range, "`%s` is not in this version", w).
			help("it is reserved for a later one")
		return
	}
	if hint := c.suggestion(w, words); hint != "" {
		c.errorf(codeWord, s.Word.Range, "unknown word `%s` %s", w, place).help("did you mean `%s`?", hint)
		c.guess(s, hint)
		return
	}
	for _, p := range places {
		if slices.Contains(p.words, w) {
			c.errorf(codePlace, s.Word.Range, "`%s` does not belong %s", w, place).help("it belongs %s", p.name)
			return
		}
	}
	c.errorf(codeWord, s.Word.Range, "unknown word `%s` %s", w, place).help("%s", oneOf("", words))
}

// guess takes a statement for one of the word that was likely meant: that word
// is not missing, and the name it declares is not unknown.
func (c *checker) guess(s *dsl.Statement, hint string) {
	c.meant[hint] = true
	if len(s.Args) == 0 || usages[hint] == "" {
		return
	}
	switch a := s.Args[0]; {
	case a.Kind == dsl.Keyed:
		c.lost[a.Key.Text] = true
	case a.Kind == dsl.Positional:
		if _, name := c.signature(a); name.Text != "" {
			c.lost[name.Text] = true
		}
	}
}

// oneOf lists choices, after the one that was likely meant.
func oneOf(word string, choices []string) string {
	if s := diag.Suggest(word, choices); s != "" {
		return "did you mean `" + s + "`?"
	}
	quoted := make([]string, len(choices))
	for i, s := range choices {
		quoted[i] = "`" + s + "`"
	}
	if len(quoted) == 1 {
		return "write " + quoted[0]
	}
	return "one of " + strings.Join(quoted[:len(quoted)-1], ", ") + " and " + quoted[len(quoted)-1]
}
