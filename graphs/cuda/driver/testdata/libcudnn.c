// Convolutions of NHWC maps, float32 or bfloat16, on the host, for tests, as
// plainly as can be, at once.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int n, c, h, w, type; } shape; // a filter's n is its k
typedef struct { int pad, stride, groups, math; } conv;
typedef struct { int algo, status; float time; size_t memory; int deterministic, math, reserved[3]; } perf;

static int live;
static void *stream_of;
int fake_dnn_live(void) { return live; }

size_t cudnnGetVersion(void) { return 92600; }
size_t cudnnGetCudartVersion(void) { return 13020; }
const char *cudnnGetErrorString(int s) { return s == 2000 ? "CUDNN_STATUS_BAD_PARAM" : "CUDNN_STATUS_NOT_SUPPORTED"; }
void cudnnGetLastErrorString(char *s, size_t n) { snprintf(s, n, "a fake's reason"); }
int cudnnCreate(void **h) { *h = (void *)43; live++; return 0; }
int cudnnDestroy(void *h) { live--; return h == (void *)43 ? 0 : 2000; }
int cudnnSetStream(void *h, void *s) { stream_of = s; return h == (void *)43 && s ? 0 : 2000; }
int cudnnCreateTensorDescriptor(shape **t) { *t = calloc(1, sizeof **t); live++; return 0; }
int cudnnSetTensor4dDescriptor(shape *t, int format, int type, int n, int c, int h, int w) {
	if (format != 1 || type != 0 && type != 9) return 2000;
	*t = (shape){ n, c, h, w, type };
	return 0;
}
int cudnnDestroyTensorDescriptor(shape *t) { free(t); live--; return 0; }
int cudnnCreateFilterDescriptor(shape **t) { return cudnnCreateTensorDescriptor(t); }
int cudnnSetFilter4dDescriptor(shape *t, int type, int format, int k, int c, int h, int w) { return cudnnSetTensor4dDescriptor(t, format, type, k, c, h, w); }
int cudnnDestroyFilterDescriptor(shape *t) { return cudnnDestroyTensorDescriptor(t); }
int cudnnCreateConvolutionDescriptor(conv **c) { *c = calloc(1, sizeof **c); live++; return 0; }
int cudnnSetConvolution2dDescriptor(conv *c, int ph, int pw, int u, int v, int dh, int dw, int mode, int type) {
	if (ph != pw || u != v || dh != 1 || dw != 1 || mode != 1 || type != 0) return 2000;
	c->pad = ph; c->stride = u; c->groups = 1;
	return 0;
}
int cudnnSetConvolutionGroupCount(conv *c, int g) { c->groups = g; return 0; }
int cudnnSetConvolutionMathType(conv *c, int m) { c->math = m; return 0; }
int cudnnDestroyConvolutionDescriptor(conv *c) { free(c); live--; return 0; }

// Algorithms 0 to 5: 1 is right and slow, 4 right and fast, 5 right and needs
// much; 0 has no order of sums, 2 cannot run, 3 has another math.
static int offers(const conv *c, perf *p, int asked, int *n) {
	if (asked < 6) return 2000;
	int math = c->math;
	perf all[] = { { 0, 0, .1f, 0, 0, math }, { 1, 0, 3, 64, 1, math }, { 2, 3000, -1, 0, 1, math },
	               { 3, 0, .2f, 0, 1, math == 3 ? 1 : math }, { 4, 0, 1, 4096, 1, math }, { 5, 0, .5f, 1 << 30, 1, math } };
	memcpy(p, all, sizeof all);
	*n = 6;
	return 0;
}
static int fits(const shape *x, const shape *w, const conv *c, const shape *y) {
	return x->n == y->n && w->n == y->c && w->c * c->groups == x->c &&
	       y->h == (x->h + 2 * c->pad - w->h) / c->stride + 1 && y->w == (x->w + 2 * c->pad - w->w) / c->stride + 1;
}
// Types are alike, but that a gradient of weights may be float32.
static int alike(const shape *x, const shape *w, const shape *y, int gradient) {
	return x->type == y->type && (w->type == x->type || gradient && w->type == 0) ? 0 : 3000;
}
int cudnnGetConvolutionForwardAlgorithm_v7(void *h, shape *x, shape *w, conv *c, shape *y, int asked, int *n, perf *p) {
	int r = h == (void *)43 && fits(x, w, c, y) ? alike(x, w, y, 0) : 2000;
	return r ? r : offers(c, p, asked, n);
}
int cudnnGetConvolutionBackwardDataAlgorithm_v7(void *h, shape *w, shape *y, conv *c, shape *x, int asked, int *n, perf *p) {
	int r = h == (void *)43 && fits(x, w, c, y) ? alike(x, w, y, 0) : 2000;
	return r ? r : offers(c, p, asked, n);
}
int cudnnGetConvolutionBackwardFilterAlgorithm_v7(void *h, shape *x, shape *y, conv *c, shape *w, int asked, int *n, perf *p) {
	int r = h == (void *)43 && fits(x, w, c, y) ? alike(x, w, y, 1) : 2000;
	return r ? r : offers(c, p, asked, n);
}

static float get(const shape *s, const void *p, size_t i) {
	if (s->type == 0) return ((const float *)p)[i];
	uint32_t bits = (uint32_t)((const uint16_t *)p)[i] << 16;
	float v;
	memcpy(&v, &bits, 4);
	return v;
}
static void put(const shape *s, void *p, size_t i, float v) {
	uint32_t bits;
	memcpy(&bits, &v, 4);
	if (s->type == 0) ((float *)p)[i] = v;
	else ((uint16_t *)p)[i] = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

// way is 0, 1, 2: y, dx or dw is the result, of which beta times its content is
// kept.
static int convolve(int way, shape *xs, void *x, shape *ws, void *w, conv *c, shape *ys, void *y, float alpha, float beta) {
	if (!fits(xs, ws, c, ys) || !stream_of) return 2000;
	if (alike(xs, ws, ys, way == 2)) return 3000;
	shape *os = way == 0 ? ys : way == 1 ? xs : ws;
	void *o = way == 0 ? y : way == 1 ? x : w;
	size_t count = (size_t)os->n * os->c * os->h * os->w;
	double *sum = calloc(count, sizeof *sum);
	int kg = ys->c / c->groups;
	for (int n = 0; n < ys->n; n++) for (int i = 0; i < ys->h; i++) for (int j = 0; j < ys->w; j++) for (int k = 0; k < ys->c; k++)
		for (int a = 0; a < ws->h; a++) for (int b = 0; b < ws->w; b++) for (int d = 0; d < ws->c; d++) {
			int u = i * c->stride - c->pad + a, v = j * c->stride - c->pad + b;
			if (u < 0 || v < 0 || u >= xs->h || v >= xs->w) continue;
			size_t xi = (((size_t)n * xs->h + u) * xs->w + v) * xs->c + k / kg * ws->c + d;
			size_t wi = (((size_t)k * ws->h + a) * ws->w + b) * ws->c + d;
			size_t yi = (((size_t)n * ys->h + i) * ys->w + j) * ys->c + k;
			if (way == 0) sum[yi] += (double)get(xs, x, xi) * get(ws, w, wi);
			if (way == 1) sum[xi] += (double)get(ys, y, yi) * get(ws, w, wi);
			if (way == 2) sum[wi] += (double)get(ys, y, yi) * get(xs, x, xi);
		}
	for (size_t i = 0; i < count; i++) put(os, o, i, alpha * (float)sum[i] + (beta == 0 ? 0 : beta * get(os, o, i)));
	free(sum);
	return 0;
}
static int with(int algo, void *workspace, size_t n) { return algo == 4 && workspace && n >= 4096 || algo == 1 && n >= 64; }

int cudnnConvolutionForward(void *h, float *alpha, shape *xs, void *x, shape *ws, void *w, conv *c, int algo, void *space, size_t n, float *beta, shape *ys, void *y) {
	return h == (void *)43 && with(algo, space, n) ? convolve(0, xs, x, ws, w, c, ys, y, *alpha, *beta) : 2000;
}
int cudnnConvolutionBackwardData(void *h, float *alpha, shape *ws, void *w, shape *ys, void *y, conv *c, int algo, void *space, size_t n, float *beta, shape *xs, void *x) {
	return h == (void *)43 && with(algo, space, n) ? convolve(1, xs, x, ws, w, c, ys, y, *alpha, *beta) : 2000;
}
int cudnnConvolutionBackwardFilter(void *h, float *alpha, shape *xs, void *x, shape *ys, void *y, conv *c, int algo, void *space, size_t n, float *beta, shape *ws, void *w) {
	return h == (void *)43 && with(algo, space, n) ? convolve(2, xs, x, ws, w, c, ys, y, *alpha, *beta) : 2000;
}
// To measure, all results are overwritten.
int cudnnFindConvolutionForwardAlgorithmEx(void *h, shape *xs, void *x, shape *ws, void *w, conv *c, shape *ys, void *y, int asked, int *n, perf *p, void *space, size_t size) {
	int r = h == (void *)43 && space && size ? convolve(0, xs, x, ws, w, c, ys, y, 1, 0) : 2000;
	return r ? r : offers(c, p, asked, n);
}
int cudnnFindConvolutionBackwardDataAlgorithmEx(void *h, shape *ws, void *w, shape *ys, void *y, conv *c, shape *xs, void *x, int asked, int *n, perf *p, void *space, size_t size) {
	int r = h == (void *)43 && space && size ? convolve(1, xs, x, ws, w, c, ys, y, 1, 0) : 2000;
	return r ? r : offers(c, p, asked, n);
}
int cudnnFindConvolutionBackwardFilterAlgorithmEx(void *h, shape *xs, void *x, shape *ys, void *y, conv *c, shape *ws, void *w, int asked, int *n, perf *p, void *space, size_t size) {
	int r = h == (void *)43 && space && size ? convolve(2, xs, x, ws, w, c, ys, y, 1, 0) : 2000;
	return r ? r : offers(c, p, asked, n);
}
