// Normalisation, batch and group, in three steps: sums of a channel over a
// segment of rows, in float64 (grid: segments x blocks of channels); the segments
// of a set joined (a block a set); the map made element by element. All are bound
// by memory: the map is read twice and written once.
//
// A set is what shares statistics: the cg channels of a group of one picture of
// pixels rows. Batch normalisation is the same with one picture that has aint rows,
// and cg = 1. So sets = pictures*(c/cg), and the set of a picture and channel is
// picture*(c/cg) + channel/cg. A picture is cut into per segments.
//
// Partial sums are [segment][2][c].

// The rows of a segment, [from, to), and its picture.
struct Segment {
  ll from, to;
  int picture;
};

__device__ __forceinline__ Segment segment_of(int segment, ll pixels, int per) {
  int picture = segment / per, part = segment % per;
  ll first = picture * pixels;
  return {first + pixels * part / per, first + pixels * (part + 1) / per, picture};
}

// Mean and sum of squared deviations of a segment's channels. Differences are
// from the segment's first row, so that a large mean costs no digits.
template <int V> __device__ void moments(const map_t *x, double *partial, int c, ll pixels, int per) {
  Segment s = segment_of(blockIdx.x, pixels, per);
  int ch = CHANNEL(V);
  double sum[V], square[V];
  float base[V], v[V];
  for (int k = 0; k < V; k++) sum[k] = square[k] = 0, base[k] = 0;
  if (ch < c) {
    load<V>(x + s.from * c + ch, base);
#pragma unroll 4
    for (ll p = s.from + threadIdx.y; p < s.to; p += blockDim.y) {
      load<V>(x + p * c + ch, v);
      for (int k = 0; k < V; k++) {
        double d = (double)v[k] - (double)base[k];
        sum[k] += d;
        square[k] += d * d;
      }
    }
  }
  double n = (double)(s.to - s.from);
  for (int k = 0; k < V; k++) {
    double a = sum_along_y(sum[k]), b = sum_along_y(square[k]);
    if (threadIdx.y == 0 && ch < c) {
      double *to = partial + (ll)blockIdx.x * 2 * c + ch + k;
      to[0] = base[k] + a / n;
      to[c] = fmax(b - a * (a / n), 0.0);
    }
  }
}

extern "C" __global__ void norm_moments(const map_t *x, double *partial, int c, ll pixels, int per) {
  moments<1>(x, partial, c, pixels, per);
}
extern "C" __global__ void norm_moments4(const map_t *x, double *partial, int c, ll pixels, int per) {
  moments<4>(x, partial, c, pixels, per);
}

// Count, mean and sum of squared deviations.
struct Moments {
  double n, mean, m2;
};

// Moments of both (Chan, Golub and LeVeque 1983).
__device__ __forceinline__ Moments joined(Moments a, Moments b) {
  if (b.n == 0) return a;
  if (a.n == 0) return b;
  double n = a.n + b.n, d = b.mean - a.mean, share = b.n / n;
  return {n, a.mean + d * share, a.m2 + b.m2 + d * d * a.n * share};
}

// The moments of a set, in thread 0.
__device__ Moments set_moments(const double *partial, int c, int cg, ll pixels, int per) {
  __shared__ Moments part[THREADS];
  int picture = blockIdx.x / (c / cg), first = blockIdx.x % (c / cg) * cg, t = threadIdx.x;
  Moments all = {0, 0, 0};
  for (int i = t; i < per * cg; i += THREADS) {
    int segment = picture * per + i / cg;
    Segment s = segment_of(segment, pixels, per);
    const double *m = partial + (ll)segment * 2 * c + first + i % cg;
    all = joined(all, {(double)(s.to - s.from), m[0], m[c]});
  }
  part[t] = all;
  __syncthreads();
  for (int d = THREADS / 2; d > 0; d /= 2) {
    if (t < d) part[t] = joined(part[t], part[t + d]);
    __syncthreads();
  }
  return part[0];
}

// A set's mean and 1/sqrt(variance+eps). Where running is there, it moves by
// momentum, to the unbiased variance. A block a set.
extern "C" __global__ void norm_settle(const double *partial, float *mean, float *invstd, float *running, float *variance, int c, int cg,
                                       ll pixels, int per, double eps, double momentum) {
  Moments m = set_moments(partial, c, cg, pixels, per);
  if (threadIdx.x > 0) return;
  int set = blockIdx.x;
  mean[set] = (float)m.mean;
  invstd[set] = (float)(1 / sqrt(m.m2 / m.n + eps));
  if (running) {
    running[set] = (float)((1 - momentum) * running[set] + momentum * m.mean);
    variance[set] = (float)((1 - momentum) * variance[set] + momentum * m.m2 / fmax(m.n - 1, 1.0));
  }
}

// The running statistics as those of the sets.
extern "C" __global__ void norm_running(const float *running, const float *variance, float *mean, float *invstd, double eps, ll n) {
  EACH(i, n) {
    mean[i] = running[i];
    invstd[i] = (float)(1 / sqrt((double)variance[i] + eps));
  }
}

// What V channels of a picture are normalised with.
template <int V> struct Factors {
  float mean[V], gain[V], shift[V];
};

template <int V>
__device__ __forceinline__ void factors(Factors<V> &f, const float *mean, const float *invstd, const float *scale, const float *shift,
                                        int picture, int ch, int c, int cg) {
  for (int k = 0; k < V; k++) {
    ll set = (ll)picture * (c / cg) + (ch + k) / cg;
    f.mean[k] = mean[set];
    f.gain[k] = invstd[set] * scale[ch + k];
    f.shift[k] = shift[ch + k];
  }
}

// y = act((x-mean)*invstd*scale + shift (+ residual))
template <int V>
__device__ void norm_map(const map_t *x, const map_t *residual, const float *mean, const float *invstd, const float *scale,
                         const float *shift, map_t *y, int rows, int c, int cg, ll pixels, int relu) {
  int ch = CHANNEL(V), have = -1;
  if (ch >= c) return;
  Factors<V> f;
  float v[V], r[V];
  ROWS(p, rows) {
    int picture = pixels == rows ? 0 : p / (unsigned)pixels;
    ll at = (ll)p * c + ch;
    if (picture != have) factors(f, mean, invstd, scale, shift, have = picture, ch, c, cg);
    load<V>(x + at, v);
    for (int k = 0; k < V; k++) v[k] = normed(v[k], f.mean[k], f.gain[k], f.shift[k]);
    if (residual) {
      load<V>(residual + at, r);
      for (int k = 0; k < V; k++) v[k] += r[k];
    }
    if (relu)
      for (int k = 0; k < V; k++) v[k] = rectified(v[k]);
    store<V>(y + at, v);
  }
}

#define NORM_MAP_PARAMETERS                                                                                                          \
  const map_t *x, const map_t *residual, const float *mean, const float *invstd, const float *scale, const float *shift, map_t *y, int rows, \
      int c, int cg, ll pixels, int relu
extern "C" __global__ void norm_apply(NORM_MAP_PARAMETERS) {
  norm_map<1>(x, residual, mean, invstd, scale, shift, y, rows, c, cg, pixels, relu);
}
extern "C" __global__ void norm_apply4(NORM_MAP_PARAMETERS) {
  norm_map<4>(x, residual, mean, invstd, scale, shift, y, rows, c, cg, pixels, relu);
}

// The gradient. With g = dy behind the relu's mask, h = g*scale, and averages over
// a set:
//
//   dx = invstd*(h - avg(h) - xhat*avg(h*xhat))
//
// (Ioffe and Szegedy 2015; Wu and He 2018.) The mask is where y > 0; without y,
// where the norm of x is, if shift is there; without shift there is no relu.
struct Masked {
  const map_t *dy, *x, *y;
  const float *scale, *shift, *mean, *invstd;
};

// g and x of V channels of a row.
template <int V> __device__ __forceinline__ void masked(const Masked &m, const Factors<V> &f, ll at, float *g, float *x) {
  load<V>(m.dy + at, g);
  load<V>(m.x + at, x);
  float y[V];
  if (m.y) {
    load<V>(m.y + at, y);
  } else if (m.shift) {
    for (int k = 0; k < V; k++) y[k] = normed(x[k], f.mean[k], f.gain[k], f.shift[k]);
  } else {
    return;
  }
  for (int k = 0; k < V; k++)
    if (!(y[k] > 0.0f)) g[k] = 0.0f;
}

// Sums of g and g*(x-mean) of a segment's channels.
template <int V> __device__ void grad_sums(Masked m, double *partial, int c, int cg, ll pixels, int per) {
  Segment s = segment_of(blockIdx.x, pixels, per);
  int ch = CHANNEL(V);
  double sum[V], product[V];
  float g[V], x[V];
  for (int k = 0; k < V; k++) sum[k] = product[k] = 0;
  if (ch < c) {
    Factors<V> f;
    factors(f, m.mean, m.invstd, m.scale, m.shift ? m.shift : m.scale, s.picture, ch, c, cg);
#pragma unroll 4
    for (ll p = s.from + threadIdx.y; p < s.to; p += blockDim.y) {
      masked(m, f, p * c + ch, g, x);
      for (int k = 0; k < V; k++) {
        sum[k] += g[k];
        product[k] += (double)g[k] * (double)(x[k] - f.mean[k]);
      }
    }
  }
  for (int k = 0; k < V; k++) {
    double a = sum_along_y(sum[k]), b = sum_along_y(product[k]);
    if (threadIdx.y == 0 && ch < c) {
      double *to = partial + (ll)blockIdx.x * 2 * c + ch + k;
      to[0] = a;
      to[c] = b;
    }
  }
}

#define MASKED_PARAMETERS \
  const map_t *dy, const map_t *x, const map_t *y, const float *scale, const float *shift, const float *mean, const float *invstd
#define MASKED \
  { dy, x, y, scale, shift, mean, invstd }
extern "C" __global__ void norm_grad_sums(MASKED_PARAMETERS, double *partial, int c, int cg, ll pixels, int per) {
  grad_sums<1>(MASKED, partial, c, cg, pixels, per);
}
extern "C" __global__ void norm_grad_sums4(MASKED_PARAMETERS, double *partial, int c, int cg, ll pixels, int per) {
  grad_sums<4>(MASKED, partial, c, cg, pixels, per);
}

// What dx of a set is made with: centre = invstd*avg(h) and slope =
// invstd^2*avg(h*xhat). A block a set.
extern "C" __global__ void norm_grad_settle(const double *partial, const float *scale, const float *invstd, float *centre, float *slope,
                                            int c, int cg, ll pixels, int per) {
  int picture = blockIdx.x / (c / cg), first = blockIdx.x % (c / cg) * cg;
  double sum = 0, product = 0;
  for (int i = threadIdx.x; i < per * cg; i += THREADS) {
    int ch = first + i % cg;
    const double *m = partial + ((ll)picture * per + i / cg) * 2 * c + ch;
    sum += (double)scale[ch] * m[0];
    product += (double)scale[ch] * m[c];
  }
  sum = sum_of_block(sum);
  product = sum_of_block(product);
  if (threadIdx.x > 0) return;
  double s = invstd[blockIdx.x], n = (double)pixels * cg;
  centre[blockIdx.x] = (float)(s * sum / n);
  slope[blockIdx.x] = (float)(s * s * s * product / n);
}

// Adds a channel's gradients of scale and shift. A block a channel.
extern "C" __global__ void norm_grad_weights(const double *partial, const float *invstd, float *dscale, float *dshift, int c, int cg, int per,
                                             int segments) {
  int ch = blockIdx.x;
  double sum = 0, product = 0;
  for (int i = threadIdx.x; i < segments; i += THREADS) {
    const double *m = partial + (ll)i * 2 * c + ch;
    sum += m[0];
    product += m[c] * (double)invstd[(ll)(i / per) * (c / cg) + ch / cg];
  }
  sum = sum_of_block(sum);
  product = sum_of_block(product);
  if (threadIdx.x > 0) return;
  dshift[ch] += (float)sum;
  dscale[ch] += (float)product;
}

// dx, and g to dresidual where that is there; either may lie on dy.
template <int V>
__device__ void grad_map(Masked m, const float *centre, const float *slope, map_t *dx, map_t *dresidual, int rows, int c, int cg, ll pixels) {
  int ch = CHANNEL(V), have = -1;
  if (ch >= c) return;
  Factors<V> f;
  float g[V], x[V], mid[V], tilt[V];
  ROWS(p, rows) {
    int picture = pixels == rows ? 0 : p / (unsigned)pixels;
    ll at = (ll)p * c + ch;
    if (picture != have) {
      have = picture;
      factors(f, m.mean, m.invstd, m.scale, m.shift ? m.shift : m.scale, picture, ch, c, cg);
      for (int k = 0; k < V; k++) {
        ll set = (ll)picture * (c / cg) + (ch + k) / cg;
        mid[k] = centre[set];
        tilt[k] = slope[set];
      }
    }
    masked(m, f, at, g, x);
    if (dresidual) store<V>(dresidual + at, g);
    for (int k = 0; k < V; k++) g[k] = f.gain[k] * g[k] - mid[k] - (x[k] - f.mean[k]) * tilt[k];
    store<V>(dx + at, g);
  }
}

extern "C" __global__ void norm_grad_apply(MASKED_PARAMETERS, const float *centre, const float *slope, map_t *dx, map_t *dresidual, int rows,
                                           int c, int cg, ll pixels) {
  grad_map<1>(MASKED, centre, slope, dx, dresidual, rows, c, cg, pixels);
}
extern "C" __global__ void norm_grad_apply4(MASKED_PARAMETERS, const float *centre, const float *slope, map_t *dx, map_t *dresidual, int rows,
                                            int c, int cg, ll pixels) {
  grad_map<4>(MASKED, centre, slope, dx, dresidual, rows, c, cg, pixels);
}
