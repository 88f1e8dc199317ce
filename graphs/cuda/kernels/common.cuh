// What all kernels share.

typedef long long ll;

// threads in a block, where a kernel does not say otherwise.
#define THREADS 256

// EACH runs over i of n, a thread an element, in a grid of any size.
#define EACH(i, n) \
  for (ll i = (ll)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (ll)gridDim.x * blockDim.x)

// Maps as rows of c channels: a thread has V channels from CHANNEL on and goes
// through rows by ROWS. V is 4 where channels and addresses allow float4, else 1.
#define CHANNEL(V) (int)((blockIdx.y * blockDim.x + threadIdx.x) * (V))
// There are less than 2^31 rows: divisions of 64 bits take longer than what rows
// are read for.
#define ROWS(p, rows) \
  for (unsigned p = blockIdx.x * blockDim.y + threadIdx.y; p < (unsigned)(rows); p += gridDim.x * blockDim.y)

template <int V> __device__ __forceinline__ void load(const float *p, float *to) {
  to[0] = p[0];
}
template <> __device__ __forceinline__ void load<4>(const float *p, float *to) {
  float4 q = *(const float4 *)p;
  to[0] = q.x, to[1] = q.y, to[2] = q.z, to[3] = q.w;
}

template <int V> __device__ __forceinline__ void store(float *p, const float *v) {
  p[0] = v[0];
}
template <> __device__ __forceinline__ void store<4>(float *p, const float *v) {
  *(float4 *)p = make_float4(v[0], v[1], v[2], v[3]);
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
