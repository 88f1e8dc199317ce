// What all kernels share.

typedef long long ll;

// threads in a block, where a kernel does not say otherwise.
#define THREADS 256

// EACH runs over i of n, a thread an element, in a grid of any size.
#define EACH(i, n) \
  for (ll i = (ll)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (ll)gridDim.x * blockDim.x)
