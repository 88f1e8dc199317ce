package cpu

import "github.com/locorun/locorun/graphs/cpu/vector"

// reader is how a convolution reads its input: as it lies, or through the norm
// before it, whose result need then not exist.
type reader struct {
	set                        *vector.Set
	x                          []float32
	scale, shift, mean, invstd []float32 // nil: as it lies
	groups                     int       // of the norm; 0 is batch normalisation
	relu                       bool
}

// asItLies: the plane's pictures are those of x itself.
func (x reader) asItLies(p plane) bool { return x.mean == nil && !p.copied }

// unit is a unit's pictures as the plane wants them: x itself, or a copy in ws.
func (x reader) unit(ws *workspace, g geometry, u unit, p plane) []float32 {
	if x.asItLies(p) {
		return x.x[g.input(u):]
	}
	dst := scratch[float32](ws, slotPad, g.of(u).n*p.size())
	x.copy(ws, g, u, p, dst)
	return dst
}

// copy writes a unit's pictures to dst as the plane wants them.
func (x reader) copy(ws *workspace, g geometry, u unit, p plane, dst []float32) {
	src, size := x.x[g.input(u):], p.h*p.w*p.c
	for i := range g.of(u).n {
		from, to := src[i*size:][:size], dst[i*p.size():][:p.size()]
		switch {
		case x.mean == nil:
			p.fill(to, from)
		case p.groups > 1 && p.copied:
			dense := scratch[float32](ws, slotRead, size)
			x.normalise(ws, u.from+i, from, dense, plane{h: p.h, w: p.w, c: p.c, groups: 1, hp: p.h, wp: p.w})
			p.fill(to, dense)
		default:
			if p.copied {
				p.clearBorder(to)
			}
			x.normalise(ws, u.from+i, from, to, p)
		}
	}
}

// normalise writes a picture, which has the given number where statistics are
// a picture's own, behind the norm into the plane.
func (x reader) normalise(ws *workspace, picture int, src, dst []float32, p plane) {
	f := x.factors(ws, picture, p.c)
	m := mapRows{rows: min(p.h, p.hp-p.top), pixels: min(p.w, p.wp-p.left), c: p.c}
	m.x, m.xRow = src, p.w*p.c
	m.y, m.yRow = dst[p.top*p.row()+p.left*p.c:], p.row()
	m.apply(ws, x.set, f, nil, x.relu)
}

// factors are the norm's factors for a picture.
func (x reader) factors(ws *workspace, picture, c int) normFactors {
	at, per := 0, 1
	if x.groups > 0 {
		at, per = picture*x.groups, c/x.groups
	}
	f := makeFactors(scratch[float32](ws, slotFactors, 2*c), x.mean[at:], x.invstd[at:], x.scale, per)
	return normFactors{centre: f.centre, gain: f.gain, shift: x.shift}
}

// normFactors are what channels are normalised with: (x-centre)*gain + shift.
type normFactors struct{ centre, gain, shift []float32 }

func newNormFactors(mem []float32, c int) normFactors {
	return normFactors{centre: mem[:c], gain: mem[c : 2*c]}
}
