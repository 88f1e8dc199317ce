// The optimisers: element by element, all in one pass over weights, gradients and
// moments; the gradient is left zero. Bound by memory.

// Partial sums of squares of w and of g, [block][2], float64: a block has the
// elements of a grid-wide stride.
extern "C" __global__ void lars_squares(const float *w, const float *g, double *partial, ll n) {
  double a = 0, b = 0;
  EACH(i, n) {
    a += (double)w[i] * (double)w[i];
    b += (double)g[i] * (double)g[i];
  }
  a = sum_of_block(a);
  b = sum_of_block(b);
  if (threadIdx.x == 0) {
    partial[2 * blockIdx.x] = a;
    partial[2 * blockIdx.x + 1] = b;
  }
}

// The factor on a step, trust*||w||/(||g||+decay*||w||+eps) where both norms are
// above 0, else 1 (You et al. 2017), of at most THREADS partial sums.
__device__ float lars_trust(const double *partial, int blocks, double trust, double decay, double eps) {
  int t = threadIdx.x;
  double w = sqrt(sum_of_block(t < blocks ? partial[2 * t] : 0.0));
  double g = sqrt(sum_of_block(t < blocks ? partial[2 * t + 1] : 0.0));
  return w > 0 && g > 0 ? (float)(trust * w / (g + decay * w + eps)) : 1.0f;
}

// d = by*(g + decay*w); m = momentum*m + d; w -= rate*m, or rate*(d + momentum*m)
// by Nesterov; g = 0. m may be absent.
__device__ __forceinline__ void momentum_step(float *w, float *g, float *m, ll i, float by, float rate, float momentum, float decay,
                                              int nesterov) {
  float d = by * (g[i] + decay * w[i]), move = d;
  if (m) {
    m[i] = move = momentum * m[i] + d;
    if (nesterov) move = d + momentum * move;
  }
  w[i] -= rate * move;
  g[i] = 0.0f;
}

extern "C" __global__ void sgd(float *w, float *g, float *m, float rate, float momentum, float decay, int nesterov, ll n) {
  EACH(i, n) momentum_step(w, g, m, i, 1.0f, rate, momentum, decay, nesterov);
}

extern "C" __global__ void lars(float *w, float *g, float *m, const double *partial, int blocks, double trust, double decay, double eps,
                                float rate, float momentum, ll n) {
  float by = lars_trust(partial, blocks, trust, decay, eps);
  EACH(i, n) momentum_step(w, g, m, i, by, rate, momentum, (float)decay, 0);
}

// keep is 1-rate*decay; first and second are 1-beta^t of the two moments
// (Loshchilov and Hutter 2019).
extern "C" __global__ void adamw(float *w, float *g, float *m, float *v, float rate, float keep, float beta1, float rest1, float beta2,
                                 float rest2, float first, float second, float eps, ll n) {
  EACH(i, n) {
    float mi = beta1 * m[i] + rest1 * g[i];
    float vi = beta2 * v[i] + rest2 * g[i] * g[i];
    m[i] = mi;
    v[i] = vi;
    w[i] = w[i] * keep - rate * (mi / first) / (sqrtf(vi / second) + eps);
    g[i] = 0.0f;
  }
}
