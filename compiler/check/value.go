package check

import (
	"math"
	"slices"
	"strconv"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
)

// valueKind is the kind of a value. The zero kind is that of a value whose
// problem was reported.
type valueKind uint8

const (
	poison valueKind = iota
	number
	size
	interval
	text
	truth
	listing
)

func (k valueKind) String() string {
	return [...]string{"nothing", "a number", "a size", "a range", "a string", "yes or no", "a list"}[k]
}

// value is the value of an expression.
type value struct {
	kind  valueKind
	n, hi float64 // number; interval: n..hi
	h, w  int     // size
	// single says that a size was written as one number.
	single bool
	s      string // text, and the word where a word was asked for
	yes    bool
	list   []value
	at     diag.Range
}

// whole reports whether v is a whole number that is exact.
func (v value) whole() bool {
	return v.kind == number && v.n == math.Trunc(v.n) && math.Abs(v.n) <= maxExact
}

// maxExact is the greatest whole number up to which all are exact.
const maxExact = 1 << 53

// format writes a number as it would be written in the file: whole numbers that
// are exact in digits.
func format(n float64) string {
	if n == math.Trunc(n) && math.Abs(n) <= maxExact {
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	return strconv.FormatFloat(n, 'g', -1, 64)
}

// written is the value as it would be written in the file.
func (v value) written() string {
	switch v.kind {
	case text:
		return strconv.Quote(v.s)
	case truth:
		if v.yes {
			return "yes"
		}
		return "no"
	}
	return format(v.n)
}

// env is what names stand for at a place.
type env struct {
	source *source
	args   map[string]value // of the block or decoder
	// shape is the map that arrives at this line; nil outside layers.
	shape *model.Shape
	// inTrain makes the settings of train names of numbers.
	inTrain bool
}

// maxEvals bounds how many operations the values of a program take.
const maxEvals = 3_000_000

// maxChain bounds how long a chain of lets may be.
const maxChain = 1000

// eval computes an expression. A value that was reported is poison.
func (c *checker) eval(e dsl.Expr, in *env) value {
	if c.evals++; c.evals > maxEvals {
		c.large(e.Span())
		return value{}
	}
	v := c.compute(e, in)
	v.at = e.Span()
	if v.kind == number && (math.IsInf(v.n, 0) || math.IsNaN(v.n)) {
		c.errorf(codeArith, e.Span(), "the result is too large for a number")
		v.kind = poison
	}
	return v
}

func (c *checker) compute(e dsl.Expr, in *env) value {
	switch e := e.(type) {
	case *dsl.Number:
		return value{kind: number, n: e.Value}
	case *dsl.Size:
		return value{kind: size, h: e.H, w: e.W}
	case *dsl.String:
		return value{kind: text, s: e.Value}
	case *dsl.Paren:
		return c.eval(e.X, in)
	case *dsl.Name:
		return c.named(e, in)
	case *dsl.Unary:
		if x := c.operand(e.X, "-", in); x.kind == number {
			return value{kind: number, n: -x.n}
		}
		return value{}
	case *dsl.Binary:
		return c.binary(e, in)
	case *dsl.List:
		v := value{kind: listing}
		for _, x := range e.Elems {
			y := c.eval(x, in)
			if y.kind == poison {
				return value{}
			}
			v.list = append(v.list, y)
		}
		return v
	case *dsl.Call:
		c.errorf(codeKind, e.Range, "a call is no value here")
	}
	return value{}
}

// operand evaluates a number, and reports what is none.
func (c *checker) operand(e dsl.Expr, op string, in *env) value {
	v := c.eval(e, in)
	if v.kind == number || v.kind == poison {
		return v
	}
	r := c.errorf(codeKind, e.Span(), "arithmetic takes numbers, this is %s", v.kind)
	switch {
	case op == "-":
		r.help("between two arguments `-` is subtraction; a negative argument stands in parentheses: (-1)")
	case v.kind == size:
		r.help("a size is written as one token; where it is square, a number will do, and numbers can be computed with")
	}
	return value{}
}

func (c *checker) binary(e *dsl.Binary, in *env) value {
	x, y := c.operand(e.X, e.Op, in), c.operand(e.Y, e.Op, in)
	if x.kind == poison || y.kind == poison {
		return value{}
	}
	v := value{kind: number}
	switch e.Op {
	case "..":
		if x.n > y.n {
			c.errorf(codeRange, e.Range, "the range runs down, from %s to %s", format(x.n), format(y.n)).
				help("write %s..%s", format(y.n), format(x.n))
			return value{}
		}
		return value{kind: interval, n: x.n, hi: y.n}
	case "+":
		v.n = x.n + y.n
	case "-":
		v.n = x.n - y.n
	case "*":
		v.n = x.n * y.n
	case "/":
		if y.n == 0 {
			c.errorf(codeArith, e.Range, "division by zero")
			return value{}
		}
		v.n = x.n / y.n
	}
	if x.whole() && y.whole() && math.Abs(v.n) > maxExact {
		c.errorf(codeArith, e.Range, "the result is too large: whole numbers go to 2^53")
		return value{}
	}
	return v
}

// named is the value a name stands for.
func (c *checker) named(e *dsl.Name, in *env) value {
	if e.Text == "yes" || e.Text == "no" {
		return value{kind: truth, yes: e.Text == "yes"}
	}
	if v, ok := in.args[e.Text]; ok {
		return v
	}
	if e.Text == "channels" && in.shape != nil {
		if in.shape.C == 0 {
			return value{}
		}
		return value{kind: number, n: float64(in.shape.C)}
	}
	if in.inTrain && slices.Contains(settingWords, e.Text) {
		return c.setting(e)
	}
	d := in.source.names[e.Text]
	if d == nil {
		c.unknownValue(e, in)
		return value{}
	}
	if d.word != "param" && d.word != "let" && c.lost[e.Text] {
		return value{}
	}
	if d.word != "param" && d.word != "let" {
		c.errorf(codeNameKind, e.Range, "`%s` is %s, not a value", e.Text, article(d.word)).
			note(d.name.Range, "declared here")
		return value{}
	}
	return c.valueOf(d, e.Range)
}

// unknownValue reports a name that stands for no value.
func (c *checker) unknownValue(e *dsl.Name, in *env) {
	if c.broken || c.lost[e.Text] {
		return
	}
	if e.Text == "channels" {
		c.errorf(codeName, e.Range, "`channels` has a value only in layers").
			help("it is the number of channels that arrive at a line of a stage, a block or a decoder")
		return
	}
	if slices.Contains(settingWords, e.Text) {
		c.errorf(codeName, e.Range, "the setting `%s` has a value only inside train { }", e.Text).
			help("declare a param under another name, and use it in both places")
		return
	}
	r := c.errorf(codeName, e.Range, "nothing is named `%s`", e.Text)
	if !c.suggests() {
		return
	}
	var known []string
	for name := range in.args {
		known = append(known, name)
	}
	for name, d := range in.source.names {
		if d.word == "param" || d.word == "let" {
			known = append(known, name)
		}
	}
	if in.shape != nil {
		known = append(known, "channels")
	}
	if in.inTrain {
		known = append(known, settingWords...)
	}
	if s := c.suggestion(e.Text, known); s != "" {
		r.help("did you mean `%s`?", s)
		return
	}
	r.help("declare it: param %s = 1", e.Text)
}

// setting is the value of a numeric setting of train, used inside it.
func (c *checker) setting(e *dsl.Name) value {
	s := c.settings
	d := s.numbers[e.Text]
	if d == nil {
		c.errorf(codeName, e.Range, "the setting `%s` is not written in train", e.Text)
		return value{}
	}
	return c.valueOf(d, e.Range)
}

// valueOf is the value of a param, a let or a setting, computed once.
func (c *checker) valueOf(d *decl, use diag.Range) value {
	switch {
	case d.state == computed:
		return d.value
	case d.state == computing:
		c.errorf(codeItself, d.name.Range, "the value of `%s` depends on itself", d.name.Text).
			note(use, "used here on the way")
		return value{}
	case c.chain >= maxChain:
		c.errorf(codeItself, use, "more than %d values depend on one another in a row", maxChain)
		return value{}
	}
	d.state = computing
	c.chain++
	d.value = c.eval(d.expr, &env{source: d.source, inTrain: d.word == "setting"})
	c.chain--
	d.state = computed
	return d.value
}

func article(word string) string {
	switch word[0] {
	case 'a', 'e', 'i', 'o': // of the words of the language; "a unit"
		return "an " + word
	}
	return "a " + word
}
