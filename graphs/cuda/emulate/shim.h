// What CUDA C takes for granted, for a host's C++ compiler. It stands before the
// kernels; host.h, which runs them, stands behind.

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// One block runs at a time, so that its shared memory can be static. The section
// lets host.h fill all of it with NaNs before the first and the last block.
#define __shared__ static __attribute__((section("emulate_shared")))

#define EMULATE_VECTORS(T, S, A2, A4)                                              \
  struct __align__(A2) S##2 { T x, y; };                                           \
  struct S##3 { T x, y, z; };                                                      \
  struct __align__(A4) S##4 { T x, y, z, w; };                                     \
  static inline S##2 make_##S##2(T x, T y) { return {x, y}; }                      \
  static inline S##3 make_##S##3(T x, T y, T z) { return {x, y, z}; }              \
  static inline S##4 make_##S##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATE_VECTORS(float, float, 8, 16)
EMULATE_VECTORS(double, double, 16, 16)
EMULATE_VECTORS(int, int, 8, 16)
EMULATE_VECTORS(unsigned, uint, 8, 16)

struct dim3 { unsigned x, y, z; };
static dim3 gridDim, blockDim;
static uint3 blockIdx, threadIdx;

// Mixed types follow C's rules for arithmetic, as in CUDA.
template <class A, class B> static inline auto min(A a, B b) -> decltype(a + b) { return b < a ? b : a; }
template <class A, class B> static inline auto max(A a, B b) -> decltype(a + b) { return a < b ? b : a; }

static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __frcp_rn(float a) { return 1.0f / a; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
#define __expf expf
#define __logf logf
template <class T, class F> static inline T emulate_cast(F from) {
  T to;
  static_assert(sizeof to == sizeof from, "");
  memcpy(&to, &from, sizeof to);
  return to;
}
static inline int __float_as_int(float x) { return emulate_cast<int>(x); }
static inline float __int_as_float(int x) { return emulate_cast<float>(x); }
static inline unsigned __float_as_uint(float x) { return emulate_cast<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return emulate_cast<float>(x); }
static inline long long __double_as_longlong(double x) { return emulate_cast<long long>(x); }
static inline double __longlong_as_double(long long x) { return emulate_cast<double>(x); }
template <class T> static inline T __ldg(const T *p) { return *p; }

// Dynamic shared memory, as long as the launch said.
static char *emulate_dynamic;

static void emulate_barrier(int line);
#define __syncthreads() emulate_barrier(__LINE__)
