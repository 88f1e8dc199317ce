// The optimisers, for many tensors at once: element by element, all in one pass
// over weights, gradients and moments; the gradient is left zero. Bound by memory.
//
// A block has a chunk of one tensor's elements: the blocks of a tensor lie beside
// each other, where says which tensor and which of its chunks a block has.

#define UPDATE_CHUNK 4096

// A tensor to update, 64 bytes. first is its first block, blocks their number.
// factor is on the step's rate; a trust of 0 does not adapt.
struct Update {
  float *w, *g, *m, *v; // m and v may be null
  ll n;
  int first, blocks;
  float decay, factor, trust;
  int unused;
};

struct UpdateChunk {
  int tensor, chunk;
};

// CHUNK runs over i of a block's chunk of n elements.
#define CHUNK(i, n, chunk)                                               \
  for (ll i = (ll)(chunk) * UPDATE_CHUNK + threadIdx.x,                  \
          end_##i = min((ll)(n), (ll)((chunk) + 1) * UPDATE_CHUNK);      \
       i < end_##i; i += THREADS)

// Sums of squares of w and of g of each block, [block][2], float64.
extern "C" __global__ void lars_squares(const Update *tensors, const UpdateChunk *where, double *partial) {
  UpdateChunk at = where[blockIdx.x];
  Update u = tensors[at.tensor];
  double a = 0, b = 0;
  CHUNK(i, u.n, at.chunk) {
    a += (double)u.w[i] * (double)u.w[i];
    b += (double)u.g[i] * (double)u.g[i];
  }
  a = sum_of_block(a);
  b = sum_of_block(b);
  if (threadIdx.x == 0) {
    partial[2 * blockIdx.x] = a;
    partial[2 * blockIdx.x + 1] = b;
  }
}

// The factor on a tensor's step, trust*||w||/(||g||+decay*||w||+eps) where both
// norms are above 0, else 1 (You et al. 2017). A block a tensor.
extern "C" __global__ void lars_trust(const Update *tensors, const double *partial, float *by, double eps) {
  Update u = tensors[blockIdx.x];
  double a = 0, b = 0;
  for (int i = threadIdx.x; i < u.blocks; i += THREADS) {
    a += partial[2 * (ll)(u.first + i)];
    b += partial[2 * (ll)(u.first + i) + 1];
  }
  double w = sqrt(sum_of_block(a)), g = sqrt(sum_of_block(b));
  if (threadIdx.x == 0) by[blockIdx.x] = u.trust > 0 && w > 0 && g > 0 ? (float)(u.trust * w / (g + u.decay * w + eps)) : 1.0f;
}

// d = by*(g + decay*w); m = momentum*m + d; w -= rate*m, or rate*(d + momentum*m)
// by Nesterov; g = 0. by is a factor for each tensor, 1 where it is absent.
extern "C" __global__ void sgd(const Update *tensors, const UpdateChunk *where, const float *by, float rate, float momentum, int nesterov) {
  UpdateChunk at = where[blockIdx.x];
  Update u = tensors[at.tensor];
  float trust = by ? by[at.tensor] : 1.0f;
  rate *= u.factor;
  CHUNK(i, u.n, at.chunk) {
    float d = trust * (u.g[i] + u.decay * u.w[i]), move = d;
    if (u.m) {
      u.m[i] = move = momentum * u.m[i] + d;
      if (nesterov) move = d + momentum * move;
    }
    u.w[i] -= rate * move;
    u.g[i] = 0.0f;
  }
}

// first and second are 1-beta^t of the two moments (Loshchilov and Hutter 2019).
extern "C" __global__ void adamw(const Update *tensors, const UpdateChunk *where, float rate, float beta1, float rest1, float beta2,
                                 float rest2, float first, float second, float eps) {
  UpdateChunk at = where[blockIdx.x];
  Update u = tensors[at.tensor];
  rate *= u.factor;
  float keep = 1 - rate * u.decay;
  CHUNK(i, u.n, at.chunk) {
    float g = u.g[i];
    float mi = beta1 * u.m[i] + rest1 * g;
    float vi = beta2 * u.v[i] + rest2 * g * g;
    u.m[i] = mi;
    u.v[i] = vi;
    u.w[i] = u.w[i] * keep - rate * (mi / first) / (sqrtf(vi / second) + eps);
    u.g[i] = 0.0f;
  }
}
