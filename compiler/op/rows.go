package op

import (
	"fmt"
	"slices"
	"strings"
)

// Arg is an argument or a result of an op.
type Arg struct {
	Name string
	// Optional arguments may be absent (ir.None).
	Optional bool
	// Sums: the op adds to what the result holds instead of replacing it.
	Sums bool
	// Many: one or more of these; only the last argument may say so.
	Many bool
	// Map: it has an element for each place of pictures, or of their embeddings,
	// and may be of the narrower type BF16, all maps of a call alike.
	Map bool
	// Over names arguments of the result's shape in whose memory, from the same
	// byte on, the result may be made in place: the kernel reads of it whatever
	// it needs before it writes there. That holds where the argument stands only
	// once among the op's, and no other result lies there.
	Over []string
}

// Row defines an op.
type Row struct {
	Code Code
	Name string
	In   []Arg
	Out  []Arg
	// Shape gives the results' shapes from the arguments' (nil for an absent
	// one), or an error that says what does not fit.
	Shape func(a Attr, in [][]int) ([][]int, error)
	// MultiplyAdds counts them from the arguments' and results' shapes, which
	// are nil for an absent one; the function is nil where the op is neither a convolution nor a dense product. An op's FLOPs
	// are twice its multiply-adds.
	MultiplyAdds func(a Attr, in, out [][]int) int64
	// Grad names the ops that make its gradients, for the documentation and
	// the gradient checks.
	Grad []Code
	// Doc is one line: what it computes.
	Doc string
}

// Rows is the op table, indexed by Code.
var Rows = [numCodes]Row{
	Conv: {
		Name: "conv", In: args("x~", "w", "bias?"), Out: args("y~"),
		Shape: convShape, MultiplyAdds: convMACs, Grad: []Code{ConvInput, ConvWeight},
		Doc: "2-D convolution: y[n,i,j,k] = sum x[n,i*stride-pad+a,j*stride-pad+b,c] w[k,a,b,c] (+ bias[k]), zero outside the map",
	},
	Norm: {
		Name: "norm", In: args("x~", "scale", "shift", "mean?", "var?", "residual~?"), Out: args("y~", "saved_mean?", "saved_invstd?"),
		Shape: normShape, Grad: []Code{NormGrad},
		Doc: "y = act((x-mean)*invstd*scale + shift (+ residual)); statistics per channel over the microbatch's pictures, per picture and group, or the running ones (Mode, Groups); mean and var are the running statistics, moved by StatMomentum (unbiased variance) in NormUpdate",
	},
	ConvNorm: {
		Name: "conv_norm", In: args("x~", "w", "scale", "shift", "mean?", "var?", "residual~?", "in_scale?", "in_shift?", "in_mean?", "in_invstd?"), Out: args("z~", "y~?", "saved_mean?", "saved_invstd?"),
		Shape: convNormShape, MultiplyAdds: convMACs, Grad: []Code{ConvNormGrad},
		Doc: "z = conv(x, w) without bias, y = norm(z) as in conv and norm; where in_mean is there, x is another norm's input and that norm is applied on read: the convolution sees act((x-in_mean)*in_invstd*in_scale + in_shift), act a relu where InReLU is set, statistics per channel or, where InGroups > 0, per picture and group, and zero outside the map",
	},
	ReLU: {
		Name: "relu", In: args("x~"), Out: args("y~@x"), Shape: same(0), Grad: []Code{ReLUGrad},
		Doc: "y = max(x, 0)",
	},
	Add: {
		Name: "add", In: args("a~", "b~"), Out: args("y~@a@b"), Shape: sameBoth, Grad: nil,
		Doc: "y = a + b; the gradient of both is dy itself",
	},
	PoolMax: {
		Name: "pool_max", In: args("x~"), Out: args("y~", "index"), Shape: poolMaxShape, Grad: []Code{PoolMaxGrad},
		Doc: "maximum over each window, padding never wins; index is the winner's place h*W+w in the input map, the first of equals",
	},
	PoolMean: {
		Name: "pool_mean", In: args("x~"), Out: args("y~"), Shape: poolShape, Grad: []Code{PoolMeanGrad},
		Doc: "mean over each window, padding counted as zeros",
	},
	Mean: {
		Name: "mean", In: args("x~"), Out: args("y~"), Shape: meanShape, Grad: []Code{MeanGrad},
		Doc: "mean over the whole map: [n,1,1,c]",
	},
	Dense: {
		Name: "dense", In: args("x~", "w", "bias?"), Out: args("y~"), Shape: denseShape, MultiplyAdds: denseMACs, Grad: []Code{DenseInput, DenseWeight},
		Doc: "y[n,0,0,k] = sum x[n,0,0,c] w[k,c] (+ bias[k])",
	},
	Resize: {
		Name: "resize", In: args("x~"), Out: args("y~"), Shape: resizeShape, Grad: []Code{ResizeGrad},
		Doc: "bilinear to H x W, half-pixel centres, edges clamped, no antialias",
	},
	Shuffle: {
		Name: "shuffle", In: args("x~"), Out: args("y~"), Shape: same(0), Grad: []Code{Shuffle},
		Doc: "channel g*(c/groups)+i goes to i*groups+g; its gradient is a shuffle by c/groups",
	},
	Split: {
		Name: "split", In: args("x~"), Out: args("y~*"), Shape: nil, Grad: []Code{Concat},
		Doc: "consecutive channels to each result, as many as its shape says",
	},
	Concat: {
		Name: "concat", In: args("x~*"), Out: args("y~"), Shape: concatShape, Grad: []Code{Split},
		Doc: "channels one after another",
	},
	NTXent: {
		Name: "ntxent", In: args("e~"), Out: args("loss", "de~"), Shape: ntxentShape, Grad: nil,
		Doc: "normalised temperature-scaled cross entropy (Chen et al. 2020) of the rows of e; rows 2i and 2i+1 are the views of one image; mean over the rows, times Scale; de is its gradient with respect to e (rows are L2-normalised inside)",
	},
	ConvInput: {
		Name: "conv_input", In: args("dy~", "w"), Out: args("dx~"), Shape: convInputShape, MultiplyAdds: convInputMACs,
		Doc: "gradient of conv with respect to its input, a map of H x W",
	},
	ConvWeight: {
		Name: "conv_weight", In: args("x~", "dy~"), Out: args("dw+", "dbias?+"), Shape: convWeightShape, MultiplyAdds: convWeightMACs,
		Doc: "gradient of conv with respect to its weights, added",
	},
	NormGrad: {
		Name: "norm_grad", In: args("dy~", "x~", "y~?", "scale", "saved_mean", "saved_invstd"), Out: args("dx~@dy", "dresidual~?@dy", "dscale?+", "dshift?+"), Shape: normGradShape,
		Doc: "gradients of norm: x is its input, y its output where a relu is fused; dresidual is dy behind the relu's mask; scale and shift gradients are added where Weights is set",
	},
	ConvNormGrad: {
		Name: "conv_norm_grad", In: args("dy~", "z~", "y~?", "scale", "saved_mean", "saved_invstd", "x~", "w", "more~?", "shift?", "in_scale?", "in_shift?", "in_mean?", "in_invstd?"), Out: args("dx~?@more", "dresidual~?@dy", "dscale?+", "dshift?+", "dw?+"),
		Shape: convNormGradShape, MultiplyAdds: convNormGradMACs,
		Doc: "gradients of conv_norm, those present: dz, dresidual, dscale and dshift as norm_grad makes them of dy, z and y, dx = conv_input(dz, w) (+ more, a gradient of x that is there already), dw += conv_weight(x, dz); dz is no result, so that it need not leave the cache; dscale, dshift and dw are there where Weights is set; where ReLU is set without y, its mask is where (z-saved_mean)*saved_invstd*scale + shift is above 0; where in_mean is there, conv_weight reads x as conv_norm does, and dx is the gradient of what is read",
	},
	ReLUGrad: {
		Name: "relu_grad", In: args("dy~", "y~"), Out: args("dx~@dy"), Shape: sameBoth,
		Doc: "dx = dy where y > 0, else 0",
	},
	PoolMaxGrad: {
		Name: "pool_max_grad", In: args("dy~", "index"), Out: args("dx~"), Shape: gradMapShape,
		Doc: "each dy goes to its window's winner in a map of H x W",
	},
	PoolMeanGrad: {
		Name: "pool_mean_grad", In: args("dy~"), Out: args("dx~"), Shape: gradMapShape,
		Doc: "each dy is spread evenly over its window in a map of H x W",
	},
	MeanGrad: {
		Name: "mean_grad", In: args("dy~"), Out: args("dx~"), Shape: gradMapShape,
		Doc: "dy spread evenly over a map of H x W",
	},
	DenseInput: {
		Name: "dense_input", In: args("dy~", "w"), Out: args("dx~"), Shape: denseInputShape, MultiplyAdds: denseInputMACs,
		Doc: "gradient of dense with respect to its input",
	},
	DenseWeight: {
		Name: "dense_weight", In: args("x~", "dy~"), Out: args("dw+", "dbias?+"), Shape: denseWeightShape, MultiplyAdds: denseWeightMACs,
		Doc: "gradient of dense with respect to its weights, added",
	},
	ResizeGrad: {
		Name: "resize_grad", In: args("dy~"), Out: args("dx~"), Shape: gradMapShape,
		Doc: "transpose of resize, to a map of H x W",
	},
	Copy: {
		Name: "copy", In: args("a"), Out: args("b"), Shape: same(0),
		Doc: "b = a",
	},
	Pull: {
		Name: "pull", In: args("a", "b"), Out: args("g+"), Shape: sameBoth,
		Doc: "g += 2*Scale*(a-b): gradient of Scale*||a-b||^2 with respect to a",
	},
	SGD: {
		Name: "sgd", In: args("w", "g", "m?"), Out: args("w", "g", "m?"), Shape: updateShape,
		Doc: "d = g + Decay*w; m = Momentum*m + d; w -= lr*m (Nesterov: lr*(d + Momentum*m)); g = 0; lr is LR*LRFactor; results are the arguments, in place; m absent: Momentum is 0",
	},
	LARS: {
		Name: "lars", In: args("w", "g", "m"), Out: args("w", "g", "m"), Shape: updateShape,
		Doc: "d = g + Decay*w, times Trust*||w||/(||g||+Decay*||w||+Eps) where Trust > 0 and both norms are > 0; m = Momentum*m + d; w -= lr*m; g = 0 (You et al. 2017); in place",
	},
	AdamW: {
		Name: "adamw", In: args("w", "g", "m", "v"), Out: args("w", "g", "m", "v"), Shape: updateShape,
		Doc: "w -= lr*Decay*w; m, v = Beta1*m+(1-Beta1)*g, Beta2*v+(1-Beta2)*g*g; w -= lr*(m/(1-Beta1^t))/(sqrt(v/(1-Beta2^t))+Eps), t the Call's Step; g = 0 (Loshchilov and Hutter 2019); in place",
	},
}

func init() {
	for c := Code(1); c < numCodes; c++ {
		if Rows[c].Name == "" {
			panic(fmt.Sprintf("op: no row for code %d", c))
		}
		Rows[c].Code = c
	}
}

func (c Code) String() string {
	if c == Invalid || c >= numCodes {
		return fmt.Sprintf("op(%d)", uint8(c))
	}
	return Rows[c].Name
}

// Codes lists all ops.
func Codes() []Code {
	cs := make([]Code, 0, numCodes-1)
	for c := Code(1); c < numCodes; c++ {
		cs = append(cs, c)
	}
	return cs
}

// Place is where the argument or result of that name stands in a row. It
// panics where there is none.
func Place(args []Arg, name string) int {
	for i, a := range args {
		if a.Name == name {
			return i
		}
	}
	panic("op: no argument or result " + name)
}

// MayLieOver reports whether result number out may be made in place over
// argument number in, as Arg.Over says.
func (r *Row) MayLieOver(out, in int) bool {
	if out >= len(r.Out) || in >= len(r.In) {
		return false
	}
	return slices.Contains(r.Out[out].Over, r.In[in].Name)
}

// args reads the short notation of the table: ~ a map, ? optional, + sums, *
// many, and behind each @ what the result may lie over.
func args(names ...string) []Arg {
	as := make([]Arg, len(names))
	for i, n := range names {
		over := strings.Split(n, "@")
		n, as[i].Over = over[0], over[1:]
		for len(n) > 0 {
			switch n[len(n)-1] {
			case '?':
				as[i].Optional = true
			case '+':
				as[i].Sums = true
			case '*':
				as[i].Many = true
			case '~':
				as[i].Map = true
			default:
				as[i].Name = n
			}
			if as[i].Name != "" {
				break
			}
			n = n[:len(n)-1]
		}
	}
	return as
}
