// What all kernels share.

typedef long long ll;

// threads in a block, where a kernel does not say otherwise.
#define THREADS 256

// EACH runs over i of n, a thread an element, in a grid of any size.
#define EACH(i, n) \
  for (ll i = (ll)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (ll)gridDim.x * blockDim.x)

// Maps as rows of c channels: a thread has V channels from CHANNEL on and goes
// through rows by ROWS. V is 4 where channels and addresses allow, else 1.
#define CHANNEL(V) (int)((blockIdx.y * blockDim.x + threadIdx.x) * (V))
// There are less than 2^31 rows: divisions of 64 bits take longer than what rows
// are read for.
#define ROWS(p, rows) \
  for (unsigned p = blockIdx.x * blockDim.y + threadIdx.y; p < (unsigned)(rows); p += gridDim.x * blockDim.y)

// Numbers as they lie in memory, one and four of them: read, and written.
__device__ __forceinline__ float widened(float x) { return x; }
__device__ __forceinline__ void write_one(float *p, float x) { *p = x; }
__device__ __forceinline__ float4 read_quad(const float *p) { return *(const float4 *)p; }
__device__ __forceinline__ void write_quad(float *p, float4 v) { *(float4 *)p = v; }

// Elements of maps are map_t: float, or where the kernels are compiled with
// NARROW_MAPS the upper half of one, bfloat16. widened is the number that an
// element stands for, narrowed the element nearest to a number, rounded the number
// that this one stands for: what maps are multiplied with is rounded as they are.
#ifdef NARROW_MAPS

struct __align__(2) map_t {
  unsigned short half;
};

__device__ __forceinline__ float widened(map_t m) { return __uint_as_float((unsigned)m.half << 16); }

// The nearest, the even one where two are as near, in the upper half of a word;
// what is in the lower one is of no meaning. A NaN is made a quiet one, as adding
// would make something else of some.
__device__ __forceinline__ unsigned nearest(float x) {
  unsigned b = __float_as_uint(x);
  return x == x ? b + 0x7fffu + (b >> 16 & 1u) : b | 0x400000u;
}
__device__ __forceinline__ map_t narrowed(float x) {
  map_t m = {(unsigned short)(nearest(x) >> 16)};
  return m;
}
__device__ __forceinline__ float rounded(float x) { return __uint_as_float(nearest(x) & 0xffff0000u); }

__device__ __forceinline__ void write_one(map_t *p, float x) { *p = narrowed(x); }

// Four elements are two words, the first one the lower half of the first.
__device__ __forceinline__ float4 read_quad(const map_t *p) {
  uint2 q = *(const uint2 *)p;
  return make_float4(__uint_as_float(q.x << 16), __uint_as_float(q.x & 0xffff0000u), __uint_as_float(q.y << 16),
                     __uint_as_float(q.y & 0xffff0000u));
}
__device__ __forceinline__ void write_quad(map_t *p, float4 v) {
  *(uint2 *)p = make_uint2(nearest(v.x) >> 16 | (nearest(v.y) & 0xffff0000u), nearest(v.z) >> 16 | (nearest(v.w) & 0xffff0000u));
}

#else

typedef float map_t;

__device__ __forceinline__ map_t narrowed(float x) { return x; }
__device__ __forceinline__ float rounded(float x) { return x; }

#endif

// V numbers or elements of a map.
template <int V, class T> __device__ __forceinline__ void load(const T *p, float *to) {
  if (V == 1) {
    to[0] = widened(p[0]);
    return;
  }
  float4 q = read_quad(p);
  to[0] = q.x, to[1] = q.y, to[2] = q.z, to[3] = q.w;
}
template <int V, class T> __device__ __forceinline__ void store(T *p, const float *v) {
  if (V == 1) write_one(p, v[0]);
  else write_quad(p, make_float4(v[0], v[1], v[2], v[3]));
}

template <int V> __device__ __forceinline__ void load_ints(const int *p, int *to) {
  to[0] = p[0];
}
template <> __device__ __forceinline__ void load_ints<4>(const int *p, int *to) {
  int4 q = *(const int4 *)p;
  to[0] = q.x, to[1] = q.y, to[2] = q.z, to[3] = q.w;
}

template <int V> __device__ __forceinline__ void store_ints(int *p, const int *v) {
  p[0] = v[0];
}
template <> __device__ __forceinline__ void store_ints<4>(int *p, const int *v) {
  *(int4 *)p = make_int4(v[0], v[1], v[2], v[3]);
}

// What a norm makes of x, wherever it is applied: gain is invstd*scale.
__device__ __forceinline__ float normed(float x, float mean, float gain, float shift) {
  return fmaf(x - mean, gain, shift);
}

// max(x, 0), but a NaN stays one.
__device__ __forceinline__ float rectified(float x) { return x <= 0.0f ? 0.0f : x; }

// Adds the v of the threads of a block that have the same threadIdx.x; the sum is
// theirs with threadIdx.y = 0. A block has THREADS threads, a power of two along y.
__device__ __forceinline__ double sum_along_y(double v) {
  __shared__ double part[THREADS];
  int at = threadIdx.y * blockDim.x + threadIdx.x;
  part[at] = v;
  __syncthreads();
  for (int d = blockDim.y / 2; d > 0; d /= 2) {
    if ((int)threadIdx.y < d) part[at] += part[at + d * blockDim.x];
    __syncthreads();
  }
  v = part[at];
  __syncthreads();
  return v;
}

// Adds the v of a block of THREADS; the sum is every thread's.
__device__ double sum_of_block(double v) {
  __shared__ double part[THREADS];
  int t = threadIdx.x;
  part[t] = v;
  __syncthreads();
  for (int d = THREADS / 2; d > 0; d /= 2) {
    if (t < d) part[t] += part[t + d];
    __syncthreads();
  }
  v = part[0];
  __syncthreads();
  return v;
}
