// A driver without a card, for tests: two devices whose memory is the host's.
// Work in a stream is kept until somebody waits for it, so that what is read too
// early or written too soon shows. It refuses what the real one refuses: calls
// without a context, memory that is not its own, copies of unpinned memory.
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101,
       INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, LAUNCH_FAILED = 719,
       CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901, CAPTURE_UNMATCHED = 903, CAPTURE_ISOLATION = 905, WRONG_THREAD = 908 };

typedef struct op { // of a stream
	struct op *next;
	int kind; // 0 copy, 1 fill, 2 record, 3 wait, 4 launch
	void *dst; const void *src; size_t n; int value;
	struct event *event; int ticket;
} op;

typedef struct graph { op *first, **last; int broken; } graph;
typedef struct stream { struct stream *next; op *first, **last; graph *kept; void *thread; } stream; // kept: its capture
typedef struct event { int timing, asked, reached; stream *in; double at; } event;
typedef struct block { struct block *next; char *at; size_t n; int kind; } block; // 0 card, 1 pinned
typedef struct { char name[64]; int words; int shared; } function;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread void *current;
static __thread graph *capture; // of this thread
static int devices, version, contexts, streams_live, events_live, modules_live, graphs_live, error_of_init;
static size_t total, used, pinned, most_pinned;
static block *blocks;
static stream *streams;
static double ticks;
static char fail_name[64]; static int fail_code, fail_after;
static char logged[1 << 20]; static size_t logged_n;

static void note(const char *form, ...) {
	va_list v; va_start(v, form);
	int n = vsnprintf(logged + logged_n, sizeof logged - logged_n, form, v);
	if (n > 0 && logged_n + n < sizeof logged) logged_n += n;
	va_end(v);
}

static int fails(const char *name) {
	if (strcmp(name, fail_name) != 0) return 0;
	if (fail_after-- > 0) return 0;
	fail_name[0] = 0;
	return fail_code;
}

#define ENTER pthread_mutex_lock(&lock); int r = fails(__func__); if (r) { pthread_mutex_unlock(&lock); return r; }
#define LEAVE(x) do { int left_ = (x); pthread_mutex_unlock(&lock); return left_; } while (0)
#define CONTEXT if (!current) LEAVE(INVALID_CONTEXT)

// What tests say and ask.
void fake_reset(int n, int v, size_t memory) {
	devices = n; version = v; total = memory; used = 0; fail_name[0] = 0; logged_n = 0; logged[0] = 0; error_of_init = 0;
	most_pinned = pinned;
}
void fake_fail(const char *name, int code, int after) { snprintf(fail_name, sizeof fail_name, "%s", name); fail_code = code; fail_after = after; }
int fake_armed(void) { return fail_name[0] != 0; }
const char *fake_log(void) { return logged; }
size_t fake_live(int what) {
	size_t all[] = { (size_t)contexts, used, pinned, (size_t)streams_live, (size_t)events_live, (size_t)modules_live, (size_t)graphs_live, most_pinned };
	return all[what];
}

static block *owner(const void *at, size_t n, int kind) {
	for (block *b = blocks; b; b = b->next)
		if (b->kind == kind && (const char *)at >= b->at && (const char *)at + n <= b->at + b->n) return b;
	return NULL;
}

static void run(stream *s, event *until, int ticket) {
	while (s && s->first) {
		op *o = s->first;
		if (!(s->first = o->next)) s->last = &s->first;
		if (o->kind == 0) memmove(o->dst, o->src, o->n);
		if (o->kind == 1) memset(o->dst, o->value, o->n);
		if (o->kind == 2) { o->event->reached = o->ticket; o->event->at = ticks += 0.5; }
		if (o->kind == 3 && o->event->reached < o->ticket) run(o->event->in, o->event, o->ticket);
		int done = o->kind == 2 && o->event == until && o->ticket >= ticket;
		free(o);
		if (done) return;
	}
}
static void run_all(void) { for (stream *s = streams; s; s = s->next) run(s, NULL, 0); }

static op *push(stream *s, int kind) {
	op *o = calloc(1, sizeof *o), ***last = s->kept ? &s->kept->last : &s->last;
	o->kind = kind;
	**last = o; *last = &o->next;
	return o;
}

// What cannot be captured spoils a capture: of the thread that calls, or of the
// stream that is asked for.
static int spoilt(graph *g) { if (g) g->broken = 1; return g != NULL; }
#define HOST if (spoilt(capture)) LEAVE(CAPTURE_UNSUPPORTED)
#define PLAIN(s) if (spoilt((s)->kept)) LEAVE(CAPTURE_UNSUPPORTED)

int cuInit(unsigned flags) { ENTER if (devices < 0) LEAVE(NO_DEVICE); LEAVE(flags ? INVALID_VALUE : OK); }
int cuDriverGetVersion(int *v) { ENTER *v = version; LEAVE(OK); }
static const char *words(int e, int text) {
	switch (e) {
	case OK: return text ? "no error" : "CUDA_SUCCESS";
	case INVALID_VALUE: return text ? "invalid argument" : "CUDA_ERROR_INVALID_VALUE";
	case OUT_OF_MEMORY: return text ? "out of memory" : "CUDA_ERROR_OUT_OF_MEMORY";
	case NO_DEVICE: return text ? "no CUDA-capable device is detected" : "CUDA_ERROR_NO_DEVICE";
	case INVALID_DEVICE: return text ? "invalid device ordinal" : "CUDA_ERROR_INVALID_DEVICE";
	case INVALID_CONTEXT: return text ? "invalid device context" : "CUDA_ERROR_INVALID_CONTEXT";
	case INVALID_HANDLE: return text ? "invalid resource handle" : "CUDA_ERROR_INVALID_HANDLE";
	case NOT_FOUND: return text ? "named symbol not found" : "CUDA_ERROR_NOT_FOUND";
	case NOT_READY: return text ? "device not ready" : "CUDA_ERROR_NOT_READY";
	case CAPTURE_UNSUPPORTED: return text ? "operation not permitted when stream is capturing" : "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED";
	case CAPTURE_INVALIDATED: return text ? "operation failed due to a previous error during capture" : "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED";
	case CAPTURE_ISOLATION: return text ? "dependency created on uncaptured work in another stream" : "CUDA_ERROR_STREAM_CAPTURE_ISOLATION";
	case WRONG_THREAD: return text ? "attempt to terminate a thread-local capture sequence from another thread" : "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD";
	case LAUNCH_FAILED: return text ? "unspecified launch failure" : "CUDA_ERROR_LAUNCH_FAILED";
	}
	return NULL;
}
int cuGetErrorName(int e, const char **s) { *s = words(e, 0); return *s ? OK : INVALID_VALUE; }
int cuGetErrorString(int e, const char **s) { *s = words(e, 1); return *s ? OK : INVALID_VALUE; }
int cuDeviceGetCount(int *n) { ENTER *n = devices; LEAVE(OK); }
int cuDeviceGet(int *d, int i) { ENTER if (i < 0 || i >= devices) LEAVE(INVALID_DEVICE); *d = i; LEAVE(OK); }
int cuDeviceGetName(char *name, int n, int d) { ENTER snprintf(name, n, "Imaginary %c%d", 'A' + d, 100 * (d + 1)); LEAVE(OK); }
int cuDeviceGetAttribute(int *v, int a, int d) { ENTER *v = a == 75 ? 8 + d : a == 76 ? 0 : -1; LEAVE(OK); }
int cuDeviceTotalMem_v2(size_t *n, int d) { ENTER (void)d; *n = total; LEAVE(OK); }
int cuDeviceGetPCIBusId(char *s, int n, int d) { ENTER snprintf(s, n, "0000:%02x:00.0", 16 + d); LEAVE(OK); }
int cuDevicePrimaryCtxRetain(void **c, int d) { ENTER contexts++; *c = (void *)(intptr_t)(d + 1); LEAVE(OK); }
int cuDevicePrimaryCtxRelease_v2(int d) { ENTER (void)d; contexts--; LEAVE(contexts < 0 ? INVALID_CONTEXT : OK); }
int cuCtxSetCurrent(void *c) { ENTER current = c; LEAVE(OK); }
int cuMemGetInfo_v2(size_t *f, size_t *t) { ENTER CONTEXT; *f = total - used; *t = total; LEAVE(OK); }

static int take(void **at, size_t n, int kind) {
	if (posix_memalign(at, 256, n ? n : 1)) return OUT_OF_MEMORY;
	memset(*at, 0xcd, n);
	block *b = malloc(sizeof *b);
	*b = (block){ blocks, *at, n, kind };
	blocks = b;
	return OK;
}
static int give(void *at, int kind, size_t *n) {
	for (block **b = &blocks; *b; b = &(*b)->next)
		if ((*b)->at == at && (*b)->kind == kind) {
			block *gone = *b;
			*n = gone->n; *b = gone->next;
			run_all();
			free(gone->at); free(gone);
			return OK;
		}
	return INVALID_VALUE;
}
int cuMemAlloc_v2(uint64_t *p, size_t n) {
	ENTER CONTEXT; HOST;
	if (n == 0) LEAVE(INVALID_VALUE);
	if (n > total - used) LEAVE(OUT_OF_MEMORY);
	void *at; r = take(&at, n, 0);
	if (!r) { used += n; *p = (uint64_t)at; }
	LEAVE(r);
}
int cuMemFree_v2(uint64_t p) { ENTER CONTEXT; HOST; size_t n = 0; r = give((void *)p, 0, &n); used -= n; LEAVE(r); }
int cuMemAllocHost_v2(void **p, size_t n) {
	ENTER CONTEXT; HOST; r = take(p, n, 1);
	if (!r && (pinned += n) > most_pinned) most_pinned = pinned;
	LEAVE(r);
}
int cuMemFreeHost(void *p) { ENTER CONTEXT; HOST; size_t n = 0; r = give(p, 1, &n); pinned -= n; LEAVE(r); }

static int copy(void *dst, int to, const void *src, int from, size_t n, stream *s) {
	if (!s || !owner(dst, n, to) || !owner(src, n, from)) return INVALID_VALUE;
	op *o = push(s, 0);
	o->dst = dst; o->src = src; o->n = n;
	return OK;
}
int cuMemcpyHtoDAsync_v2(uint64_t d, const void *h, size_t n, stream *s) { ENTER CONTEXT; LEAVE(copy((void *)d, 0, h, 1, n, s)); }
int cuMemcpyDtoHAsync_v2(void *h, uint64_t d, size_t n, stream *s) { ENTER CONTEXT; LEAVE(copy(h, 1, (void *)d, 0, n, s)); }
int cuMemcpyDtoDAsync_v2(uint64_t d, uint64_t e, size_t n, stream *s) { ENTER CONTEXT; LEAVE(copy((void *)d, 0, (void *)e, 0, n, s)); }
int cuMemsetD8Async(uint64_t d, unsigned char c, size_t n, stream *s) {
	ENTER CONTEXT;
	if (!s || !owner((void *)d, n, 0)) LEAVE(INVALID_VALUE);
	op *o = push(s, 1);
	o->dst = (void *)d; o->value = c; o->n = n;
	LEAVE(OK);
}

// A module is a text of words, each a kernel's name; its digits are the number
// of its parameters.
int cuModuleLoadData(void **m, const void *image) {
	ENTER CONTEXT; HOST;
	if (strncmp(image, "fake ", 5) != 0) LEAVE(INVALID_VALUE);
	*m = strdup(image); modules_live++;
	LEAVE(OK);
}
int cuModuleUnload(void *m) { ENTER CONTEXT; free(m); modules_live--; LEAVE(OK); }
int cuModuleGetFunction(function **f, void *m, const char *name) {
	ENTER CONTEXT;
	if (!strstr(m, name)) LEAVE(NOT_FOUND);
	*f = calloc(1, sizeof **f);
	snprintf((*f)->name, sizeof (*f)->name, "%s", name);
	(*f)->words = atoi(name + strcspn(name, "0123456789"));
	LEAVE(OK);
}
int cuFuncSetAttribute(function *f, int a, int v) { ENTER CONTEXT; if (a != 8) LEAVE(INVALID_VALUE); f->shared = v; LEAVE(OK); }
int cuLaunchKernel(function *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, stream *s, void **params, void **extra) {
	ENTER CONTEXT;
	if (!s || extra || shared > 48 << 10 && f->shared < (int)shared) LEAVE(INVALID_VALUE);
	note("%s<%u,%u,%u|%u,%u,%u|%u>", f->name, gx, gy, gz, bx, by, bz, shared);
	for (int i = 0; i < f->words; i++) { uint64_t w; memcpy(&w, params[i], 8); note(" %llx", (unsigned long long)w); }
	note("\n");
	push(s, 4);
	LEAVE(OK);
}

int cuStreamCreate(stream **s, unsigned flags) {
	ENTER CONTEXT;
	if (flags != 1) LEAVE(INVALID_VALUE);
	*s = calloc(1, sizeof **s);
	(*s)->last = &(*s)->first; (*s)->next = streams; streams = *s;
	streams_live++;
	LEAVE(OK);
}
int cuStreamDestroy_v2(stream *s) {
	ENTER CONTEXT; run(s, NULL, 0);
	for (stream **p = &streams; *p; p = &(*p)->next) if (*p == s) { *p = s->next; break; }
	streams_live--; // not freed: events may still name it
	LEAVE(OK);
}
int cuStreamSynchronize(stream *s) { ENTER CONTEXT; if (!s) LEAVE(INVALID_HANDLE); PLAIN(s); run(s, NULL, 0); LEAVE(OK); }
int cuStreamWaitEvent(stream *s, event *e, unsigned flags) {
	ENTER CONTEXT;
	if (!s || !e || flags) LEAVE(INVALID_VALUE);
	if (spoilt(s->kept)) LEAVE(CAPTURE_ISOLATION);
	op *o = push(s, 3);
	o->event = e; o->ticket = e->asked;
	LEAVE(OK);
}

int cuStreamBeginCapture_v2(stream *s, int mode) {
	ENTER CONTEXT;
	if (!s || mode != 1) LEAVE(INVALID_VALUE);
	if (capture || s->kept) LEAVE(CAPTURE_UNSUPPORTED);
	s->kept = capture = calloc(1, sizeof *capture);
	capture->last = &capture->first; s->thread = &capture;
	graphs_live++;
	LEAVE(OK);
}
static void drop(graph *g) {
	for (op *o = g->first, *next; o; o = next) { next = o->next; free(o); }
	free(g); graphs_live--;
}
int cuStreamEndCapture(stream *s, graph **g) {
	pthread_mutex_lock(&lock); // it ends even where it is to fail
	int r = fails(__func__);
	if (!current) LEAVE(INVALID_CONTEXT);
	if (!s->kept) LEAVE(CAPTURE_UNMATCHED);
	if (s->thread != &capture) LEAVE(WRONG_THREAD);
	*g = s->kept; s->kept = NULL; capture = NULL;
	if (!r && (*g)->broken) r = CAPTURE_INVALIDATED;
	if (r) { drop(*g); *g = NULL; }
	LEAVE(r);
}
int cuGraphInstantiateWithFlags(graph **x, graph *g, unsigned long long flags) {
	ENTER CONTEXT; HOST;
	if (flags) LEAVE(INVALID_VALUE);
	*x = calloc(1, sizeof **x); (*x)->last = &(*x)->first;
	for (op *o = g->first; o; o = o->next) {
		op *p = malloc(sizeof *p);
		*p = *o; p->next = NULL;
		*(*x)->last = p; (*x)->last = &p->next;
	}
	graphs_live++;
	LEAVE(OK);
}
int cuGraphDestroy(graph *g) { ENTER CONTEXT; drop(g); LEAVE(OK); }
int cuGraphExecDestroy(graph *x) { ENTER CONTEXT; drop(x); LEAVE(OK); }
int cuGraphLaunch(graph *x, stream *s) {
	ENTER CONTEXT;
	if (!s) LEAVE(INVALID_HANDLE);
	PLAIN(s); // a real one makes it a part, which nobody asks for
	int n = 0;
	for (op *o = x->first; o; o = o->next, n++) {
		op *p = push(s, o->kind), *next = p->next;
		*p = *o; p->next = next;
	}
	note("graph of %d\n", n);
	LEAVE(OK);
}

int cuEventCreate(event **e, unsigned flags) { ENTER CONTEXT; *e = calloc(1, sizeof **e); (*e)->timing = flags == 0; events_live++; LEAVE(OK); }
int cuEventDestroy_v2(event *e) { ENTER CONTEXT; (void)e; events_live--; LEAVE(OK); }
int cuEventRecord(event *e, stream *s) {
	ENTER CONTEXT;
	if (!s || !e) LEAVE(INVALID_HANDLE);
	if (s->kept) LEAVE(OK); // a part of the graph: nobody can wait for it
	op *o = push(s, 2);
	e->in = s; o->event = e; o->ticket = ++e->asked;
	LEAVE(OK);
}
int cuEventQuery(event *e) { ENTER CONTEXT; HOST; LEAVE(e->reached < e->asked ? NOT_READY : OK); }
int cuEventSynchronize(event *e) { ENTER CONTEXT; HOST; if (e->reached < e->asked) run(e->in, e, e->asked); LEAVE(OK); }
int cuEventElapsedTime(float *ms, event *a, event *b) {
	ENTER CONTEXT;
	if (!a->timing || !b->timing || !a->reached || !b->reached) LEAVE(INVALID_HANDLE);
	*ms = (float)(b->at - a->at);
	LEAVE(OK);
}
