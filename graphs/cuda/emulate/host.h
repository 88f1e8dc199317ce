// Runs the kernels that stand before it. Threads of a block are fibers, which
// hand on at barriers; blocks run one after another. Behind it stand the calls of
// the kernels, generated, and emulate_call, which finds one by its number.

typedef unsigned long long Word;

typedef void (*Call)(const Word *words);
static Call emulate_call(long index);

// A parameter out of the low bytes of its word.
template <class T> static inline T emulate_word(Word w) {
  T to;
  memcpy(&to, &w, sizeof to);
  return to;
}

enum { MOST_THREADS = 1024, STACK = 64 << 10, MOST_SHARED = 256 << 10 };

struct Fiber {
  void *stack; // its stack pointer while it does not run
  int line;    // of the barrier it waits at; 0: of none
  bool done;
};

struct State {
  Fiber fibers[MOST_THREADS];
  Fiber *current;
  void *scheduler; // the stack pointer of who runs the fibers
  char *stacks;
  char *dynamic; // its end is followed by a page that cannot be touched
  Call call;
  const Word *words;
  // Set while kernels run: where a fault leads, and in which thread of the
  // process.
  sigjmp_buf fault;
  volatile long thread;
  void *volatile address;
  volatile int signal;
  struct sigaction segv, bus, ill;
};
static State emulate_state;

#if defined(__x86_64__)
extern "C" void emulate_switch(void **save, void *to);
__asm__(
    ".text\n"
    ".type emulate_switch, @function\n"
    "emulate_switch:\n"
    "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
    "  mov %rsp, (%rdi)\n"
    "  mov %rsi, %rsp\n"
    "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n"
    "  ret\n");

static void emulate_start();

// A new stack looks as if emulate_switch had been called at the start.
static void *emulate_prepare(int i) {
  void **top = (void **)(emulate_state.stacks + (size_t)(i + 1) * STACK);
  top[-1] = 0;
  top[-2] = (void *)emulate_start;
  memset(top - 8, 0, 6 * sizeof *top);
  return top - 8;
}
#else
#include <ucontext.h>
static ucontext_t emulate_contexts[MOST_THREADS + 1];
static void emulate_switch(void **save, void *to) {
  ucontext_t *from = *save ? (ucontext_t *)*save : emulate_contexts + MOST_THREADS;
  *save = from;
  swapcontext(from, (ucontext_t *)to);
}
static void emulate_start();
static void *emulate_prepare(int i) {
  ucontext_t *c = emulate_contexts + i;
  getcontext(c);
  c->uc_stack.ss_sp = emulate_state.stacks + (size_t)i * STACK;
  c->uc_stack.ss_size = STACK;
  makecontext(c, emulate_start, 0);
  return c;
}
#endif

static void emulate_leave() { emulate_switch(&emulate_state.current->stack, emulate_state.scheduler); }

static void emulate_start() {
  emulate_state.call(emulate_state.words);
  emulate_state.current->done = true;
  emulate_leave();
}

static void emulate_barrier(int line) {
  uint3 index = threadIdx;
  emulate_state.current->line = line;
  emulate_leave();
  threadIdx = index;
}

// The linker gives the ends of the section of shared memory, where there is one.
extern char __start_emulate_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_emulate_shared[] __attribute__((weak, visibility("hidden")));

static void emulate_poison(unsigned shared) {
  if (__start_emulate_shared) memset(__start_emulate_shared, 0xff, __stop_emulate_shared - __start_emulate_shared);
  memset(emulate_dynamic, 0xff, shared);
}

// One stretch of all threads, from barrier to barrier; 1: all are done, 0: all
// wait at one barrier, -1: neither.
static int emulate_stretch(int threads, bool backwards, char *report, int size) {
  State *s = &emulate_state;
  for (int k = 0; k < threads; k++) {
    int t = backwards ? threads - 1 - k : k;
    threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
    s->current = s->fibers + t;
    s->current->line = 0;
    emulate_switch(&s->scheduler, s->current->stack);
  }
  for (int t = 1; t < threads; t++) {
    Fiber *a = s->fibers, *b = s->fibers + t;
    if (a->line == b->line) continue;
    if (!a->line || !b->line)
      snprintf(report, size, "thread %d is done while thread %d waits at the barrier of line %d", a->line ? t : 0, a->line ? 0 : t,
               a->line + b->line);
    else
      snprintf(report, size, "thread 0 waits at the barrier of line %d, thread %d at that of line %d", a->line, t, b->line);
    return -1;
  }
  return s->fibers[0].done;
}

static int emulate_block(bool backwards, char *report, int size) {
  int threads = blockDim.x * blockDim.y * blockDim.z, end = 0;
  for (int t = 0; t < threads; t++) emulate_state.fibers[t] = {emulate_prepare(t), 0, false};
  while (!end) end = emulate_stretch(threads, backwards, report, size);
  return end;
}

static int emulate_grid(unsigned shared, bool backwards, char *report, int size) {
  long long blocks = (long long)gridDim.x * gridDim.y * gridDim.z;
  for (long long k = 0; k < blocks; k++) {
    long long b = backwards ? blocks - 1 - k : k;
    blockIdx = {(unsigned)(b % gridDim.x), (unsigned)(b / gridDim.x % gridDim.y), (unsigned)(b / gridDim.x / gridDim.y)};
    // The ends of the grid will do: filling it takes longer than most blocks.
    if (k == 0 || k == blocks - 1) emulate_poison(shared);
    if (emulate_block(backwards, report, size) < 0) return -1;
  }
  return 0;
}

// A fault of a kernel ends the launch; any other is whose it was before.
static void emulate_fault(int signal, siginfo_t *info, void *context) {
  State *s = &emulate_state;
  if (s->thread == syscall(SYS_gettid)) {
    s->address = info->si_addr;
    s->signal = signal;
    siglongjmp(s->fault, 1);
  }
  struct sigaction *before = signal == SIGBUS ? &s->bus : signal == SIGILL ? &s->ill : &s->segv;
  if (before->sa_flags & SA_SIGINFO) return before->sa_sigaction(signal, info, context);
  if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) return before->sa_handler(signal);
  sigaction(signal, before, 0);
}

// What a fault was: the compiler has the alignment of every access checked, and an
// instruction there is none of where it is wrong.
static void emulate_tell(char *report, int size) {
  int n = snprintf(report, size, "block %u,%u,%u thread %u,%u,%u ", blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
  if (emulate_state.signal == SIGILL)
    snprintf(report + n, size - n, "touches memory at an address that its type is not aligned to");
  else
    snprintf(report + n, size - n, "touches address %p, which is not its own", emulate_state.address);
}

static void *emulate_map(size_t size) {
  void *p = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? 0 : p;
}

// emulate_open makes ready, once; 0 on success.
extern "C" __attribute__((visibility("default"))) long emulate_open() {
  State *s = &emulate_state;
  size_t page = sysconf(_SC_PAGESIZE);
  s->stacks = (char *)emulate_map((size_t)MOST_THREADS * STACK);
  s->dynamic = (char *)emulate_map(MOST_SHARED + page);
  if (!s->stacks || !s->dynamic || mprotect(s->dynamic + MOST_SHARED, page, PROT_NONE)) return -1;
  struct sigaction own = {};
  own.sa_sigaction = emulate_fault;
  own.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  return sigaction(SIGSEGV, &own, &s->segv) || sigaction(SIGBUS, &own, &s->bus) || sigaction(SIGILL, &own, &s->ill);
}

// emulate_launch runs kernel number index. dims are the grid and the block, the
// bytes of dynamic shared memory, and whether threads and blocks run backwards.
// What is wrong is written to report, and -1 returned.
extern "C" __attribute__((visibility("default"))) long emulate_launch(long index, const unsigned *dims, const Word *words,
                                                                      char *report, long size) {
  State *s = &emulate_state;
  gridDim = {dims[0], dims[1], dims[2]};
  blockDim = {dims[3], dims[4], dims[5]};
  emulate_dynamic = s->dynamic + MOST_SHARED - (dims[6] + 15) / 16 * 16;
  s->call = emulate_call(index);
  s->words = words;
  s->address = 0;
  volatile long result = -1;
  if (!sigsetjmp(s->fault, 1)) {
    s->thread = syscall(SYS_gettid);
    result = emulate_grid(dims[6], dims[7], report, size);
  } else {
    emulate_tell(report, size);
  }
  s->thread = 0;
  return result;
}
