package driver

import (
	"fmt"
	"sync"
	"unsafe"
)

// Type is the type of a matrix's or a map's elements.
type Type int

// The types. BF16 are the upper 16 bits of a float32.
const (
	F32 Type = iota
	BF16
)

// Size is that of an element in bytes.
func (t Type) Size() int { return [...]int{F32: 4, BF16: 2}[t] }

func (t Type) String() string { return [...]string{F32: "f32", BF16: "bf16"}[t] }

// Product is C = Alpha op(A) op(B) + Beta C, all row-major: op(A) is [M,K],
// op(B) is [K,N], C is [M,N]. Sums and the two factors are float32, whatever the
// matrices hold.
type Product struct {
	M, N, K int
	// TransA: A lies in memory as [K,M]; TransB: B as [N,K].
	TransA, TransB bool
	// StrideA, StrideB and StrideC are the elements from a row's beginning to the
	// next's as it lies in memory.
	StrideA, StrideB, StrideC int
	// Batch, where it is above 1, is so many products; the Step of a matrix is the
	// elements from one product's to the next's, 0 for the same one.
	Batch               int
	StepA, StepB, StepC int
	// AB is the type of A and B, C that of C. With TF32, factors that are float32
	// lose 13 bits before they are multiplied, on tensor cores; without, they are
	// multiplied as they are.
	AB, C Type
	TF32  bool
	// Rank chooses one of the kernels that the library offers, 0 the likely
	// fastest; Kernels tells how many there are.
	Rank int
}

// BLAS multiplies matrices in a card's memory. It may be used by several
// goroutines.
type BLAS interface {
	// Multiply runs a Product in a stream. The workspace is of any content, and
	// no other stream uses it at the time; without one there are fewer ways to
	// multiply. Where Beta is 0, C is not read.
	//
	// Which kernel runs, and with it the order of sums, is a function of the
	// Product, the workspace's size, the library and the card, and of the
	// pointers' alignment as far as it is below 16 bytes. It adds up in one
	// order: partial sums are kept apart and added one after another.
	Multiply(p *Product, alpha float32, a, b Pointer, beta float32, c Pointer, workspace Pointer, bytes int64, s Stream) error
	// Kernels is how many kernels there are for a Product whose pointers are
	// multiples of 16, up to most. The Product's Rank is not looked at; nothing
	// runs.
	Kernels(p *Product, bytes int64, most int) (int, error)
	// Version is the library's, such as 13.2.0.
	Version() string
	Close() error
}

// BLASWorkspace is the workspace in bytes with which nothing is out of reach, on
// Hopper as NVIDIA advises.
const BLASWorkspace = 32 << 20

// The constants of cublasLt.h, cublas_api.h and library_types.h that are used;
// a test compares them.
const (
	ltCompute32F     = 68 // CUBLAS_COMPUTE_32F
	ltComputeTF32    = 77 // CUBLAS_COMPUTE_32F_FAST_TF32
	ltR32F           = 0  // CUDA_R_32F
	ltR16BF          = 14 // CUDA_R_16BF
	ltTransA         = 3  // CUBLASLT_MATMUL_DESC_TRANSA
	ltTransB         = 4  // CUBLASLT_MATMUL_DESC_TRANSB
	ltTransposed     = 1  // CUBLAS_OP_T
	ltBatchCount     = 5  // CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT
	ltBatchStep      = 6  // CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET
	ltWorkspace      = 1  // CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES
	ltReductions     = 3  // CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK
	ltAlignA         = 5  // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES
	ltAlignB         = 6  // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES
	ltAlignC         = 7  // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES
	ltAlignD         = 8  // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES
	ltReduceSeparate = 2  // CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE
)

// ltResult is cublasLtMatmulHeuristicResult_t.
type ltResult struct {
	algo      [8]uint64 // cublasLtMatmulAlgo_t
	workspace uint64
	state     int32
	waves     float32
	_         [4]int32
}

// productKey is all that decides how a Product is made.
type productKey struct {
	Product
	workspace           int64
	alignA, alignB, alC int
}

// productPlan is a Product made ready: cuBLASLt's descriptors and its choice.
type productPlan struct {
	desc, a, b, c uintptr
	algo          ltResult
}

// blas satisfies BLAS.
type blas struct {
	card   *card
	lib    *library
	handle uintptr

	mu    sync.Mutex
	plans map[productKey]*productPlan
}

// NewBLAS opens cuBLASLt for a Device that Open gave.
func NewBLAS(d Device) (BLAS, error) {
	c, err := opened(d)
	if err != nil {
		return nil, err
	}
	b, err := open(libcublasLt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", names[libcublasLt].files[0], err)
	}
	l := &blas{card: c, lib: b, plans: map[productKey]*productPlan{}}
	if err := c.in(b, cublasLtCreate, uintptr(unsafe.Pointer(&l.handle))); err != nil {
		return nil, err
	}
	return l, nil
}

// Multiply implements BLAS. cuBLASLt is column-major, so that a row-major matrix
// is its transpose there: it computes Cᵀ = op(B)ᵀ op(A)ᵀ, with A and B exchanged.
func (l *blas) Multiply(p *Product, alpha float32, a, b Pointer, beta float32, c Pointer, workspace Pointer, bytes int64, s Stream) error {
	if workspace == 0 {
		bytes = 0
	}
	t, err := l.plan(productKey{*p, bytes, alignment(a), alignment(b), alignment(c)})
	if err != nil {
		return err
	}
	return l.card.in(l.lib, cublasLtMatmul, l.handle, t.desc,
		uintptr(unsafe.Pointer(&alpha)), uintptr(b), t.b, uintptr(a), t.a,
		uintptr(unsafe.Pointer(&beta)), uintptr(c), t.c, uintptr(c), t.c,
		uintptr(unsafe.Pointer(&t.algo.algo)), uintptr(workspace), uintptr(bytes), uintptr(s))
}

// alignment is a pointer's, in bytes, 16 at most: what lies better is not
// multiplied otherwise, so that results do not depend on where a plan puts them.
func alignment(p Pointer) int { return int(min(16, (p|16)&-(p|16))) }

// check says what is wrong with a Product.
func (p *Product) check() error {
	colsA, colsB := p.K, p.N
	if p.TransA {
		colsA = p.M
	}
	if p.TransB {
		colsB = p.K
	}
	switch {
	case p.M <= 0 || p.N <= 0 || p.K <= 0:
		return fmt.Errorf("a product of [%d,%d] and [%d,%d]", p.M, p.K, p.K, p.N)
	case p.StrideA < colsA || p.StrideB < colsB || p.StrideC < p.N:
		return fmt.Errorf("rows of %d, %d and %d elements, %d, %d and %d apart", colsA, colsB, p.N, p.StrideA, p.StrideB, p.StrideC)
	case p.Batch > 1 && p.StepC == 0:
		return fmt.Errorf("%d products into one matrix", p.Batch)
	case p.Rank < 0:
		return fmt.Errorf("kernel %d of a product", p.Rank)
	case p.AB == F32 && p.C == BF16:
		return fmt.Errorf("a product of f32 into bf16")
	}
	return nil
}

// plan is how a Product is made; the first time it asks the library.
func (l *blas) plan(k productKey) (*productPlan, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.plans[k]; t != nil {
		return t, nil
	}
	if err := k.check(); err != nil {
		return nil, err
	}
	t := &productPlan{}
	if err := l.make(t, &k); err != nil {
		l.drop(t)
		return nil, err
	}
	l.plans[k] = t
	return t, nil
}

// Kernels implements BLAS.
func (l *blas) Kernels(p *Product, bytes int64, most int) (int, error) {
	k := productKey{*p, bytes, 16, 16, 16}
	if err := k.check(); err != nil {
		return 0, err
	}
	t := &productPlan{}
	defer l.drop(t)
	if err := l.describe(t, &k); err != nil {
		return 0, err
	}
	list, err := l.kernels(t, &k, most)
	return len(list), err
}

// Version implements BLAS.
func (l *blas) Version() string {
	v, _ := l.lib.version() // this library's has no error
	return v
}

// usualRanks is how many kernels callers ask about.
const usualRanks = 3

// make fills a plan.
func (l *blas) make(t *productPlan, k *productKey) error {
	if err := l.describe(t, k); err != nil {
		return err
	}
	list, err := l.kernels(t, k, max(k.Rank+1, usualRanks)) // a shorter list need not be the beginning of a longer one
	switch {
	case err != nil:
		return err
	case len(list) == 0:
		return fmt.Errorf("cuBLASLt has no kernel for %+v", k.Product)
	case len(list) <= k.Rank:
		return fmt.Errorf("cuBLASLt has %d kernels for %+v", len(list), k.Product)
	}
	t.algo = list[k.Rank]
	return nil
}

// describe makes a plan's descriptors.
func (l *blas) describe(t *productPlan, k *productKey) error {
	compute := uintptr(ltCompute32F)
	if k.TF32 && k.AB == F32 {
		compute = ltComputeTF32
	}
	if err := l.card.in(l.lib, cublasLtMatmulDescCreate, uintptr(unsafe.Pointer(&t.desc)), compute, ltR32F); err != nil {
		return err
	}
	if err := l.transposes(t.desc, k); err != nil {
		return err
	}
	rowsA, colsA, rowsB, colsB := k.M, k.K, k.K, k.N
	if k.TransA {
		rowsA, colsA = colsA, rowsA
	}
	if k.TransB {
		rowsB, colsB = colsB, rowsB
	}
	for _, m := range []struct {
		at                       *uintptr
		kind                     Type
		rows, cols, stride, step int
	}{
		{&t.a, k.AB, rowsA, colsA, k.StrideA, k.StepA},
		{&t.b, k.AB, rowsB, colsB, k.StrideB, k.StepB},
		{&t.c, k.C, k.M, k.N, k.StrideC, k.StepC},
	} {
		if err := l.layout(m.at, m.kind, m.cols, m.rows, m.stride, k.Batch, m.step); err != nil {
			return err
		}
	}
	return nil
}

// transposes says which matrices are used transposed: the library's first is B.
func (l *blas) transposes(desc uintptr, k *productKey) error {
	for _, o := range []struct {
		attribute uintptr
		on        bool
	}{{ltTransA, k.TransB}, {ltTransB, k.TransA}} {
		if !o.on {
			continue
		}
		value := int32(ltTransposed)
		err := l.card.in(l.lib, cublasLtMatmulDescSetAttribute, desc, o.attribute, uintptr(unsafe.Pointer(&value)), 4)
		if err != nil {
			return err
		}
	}
	return nil
}

// layout describes a column-major matrix.
func (l *blas) layout(at *uintptr, kind Type, rows, cols, stride, batch, step int) error {
	code := [...]uintptr{F32: ltR32F, BF16: ltR16BF}[kind]
	err := l.card.in(l.lib, cublasLtMatrixLayoutCreate, uintptr(unsafe.Pointer(at)), code, uintptr(rows), uintptr(cols), uintptr(stride))
	if err != nil || batch <= 1 {
		return err
	}
	count, apart := int32(batch), int64(step)
	if err := l.card.in(l.lib, cublasLtMatrixLayoutSetAttribute, *at, ltBatchCount, uintptr(unsafe.Pointer(&count)), 4); err != nil {
		return err
	}
	return l.card.in(l.lib, cublasLtMatrixLayoutSetAttribute, *at, ltBatchStep, uintptr(unsafe.Pointer(&apart)), 8)
}

// kernels asks for the best kernels that keep the order of sums: reductions of a
// product that is split along K happen in float32, apart from C, or not at all.
func (l *blas) kernels(t *productPlan, k *productKey, most int) ([]ltResult, error) {
	var preference uintptr
	if err := l.card.in(l.lib, cublasLtMatmulPreferenceCreate, uintptr(unsafe.Pointer(&preference))); err != nil {
		return nil, err
	}
	defer l.card.in(l.lib, cublasLtMatmulPreferenceDestroy, preference)
	if err := l.prefer(preference, k); err != nil {
		return nil, err
	}
	list := make([]ltResult, most)
	var found int32
	err := l.card.in(l.lib, cublasLtMatmulAlgoGetHeuristic, l.handle, t.desc, t.b, t.a, t.c, t.c, preference, uintptr(most),
		uintptr(unsafe.Pointer(&list[0])), uintptr(unsafe.Pointer(&found)))
	if err != nil {
		return nil, err
	}
	list = list[:found]
	for i := range list {
		if err := l.lib.status(cublasLtMatmulAlgoGetHeuristic, uintptr(list[i].state)); err != nil && i == 0 {
			return nil, err
		} else if err != nil {
			return list[:i], nil
		}
	}
	return list, nil
}

// prefer says what a kernel may need.
func (l *blas) prefer(preference uintptr, k *productKey) error {
	for _, v := range []struct {
		attribute uintptr
		value     uint64
		size      uintptr
	}{
		{ltWorkspace, uint64(k.workspace), 8}, {ltReductions, ltReduceSeparate, 4},
		{ltAlignA, uint64(k.alignB), 4}, {ltAlignB, uint64(k.alignA), 4}, {ltAlignC, uint64(k.alC), 4}, {ltAlignD, uint64(k.alC), 4},
	} {
		value := v.value // little-endian, so that its lower half is the number too
		err := l.card.in(l.lib, cublasLtMatmulPreferenceSetAttribute, preference, v.attribute, uintptr(unsafe.Pointer(&value)), v.size)
		if err != nil {
			return err
		}
	}
	return nil
}

// drop frees a plan's descriptors.
func (l *blas) drop(t *productPlan) {
	if t.desc != 0 {
		_ = l.card.in(l.lib, cublasLtMatmulDescDestroy, t.desc) // host memory only
	}
	for _, m := range []uintptr{t.a, t.b, t.c} {
		if m != 0 {
			_ = l.card.in(l.lib, cublasLtMatrixLayoutDestroy, m)
		}
	}
}

// Close implements BLAS; it comes before the Device's.
func (l *blas) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.plans {
		l.drop(t)
	}
	l.plans = map[productKey]*productPlan{}
	if l.handle == 0 {
		return nil
	}
	handle := l.handle
	l.handle = 0
	return l.card.in(l.lib, cublasLtDestroy, handle)
}
