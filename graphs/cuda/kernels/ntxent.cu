// The loss of Chen et al. 2020 and its gradient. With z the L2-normalised rows,
// s_ij = z_i z_j / temperature and p_ij the softmax of row i over j != i, row
// i's loss is -log p_ij for j its partner, i^1, and
//
//	dz_i = sum over j != i of (p_ij + p_ji - 2*[j partner of i]) z_j / (rows*temperature)
//
// Similarities are made a tile of 64x64 at a time, in shared memory, twice: for
// each row's logarithm of the sum of exponentials, and for the gradient. A block
// has 64 rows and a split of the tiles of columns; what splits give is joined in
// order.
//
//	normalise      e -> z, norm                          a block a row
//	sums           z -> each split's maximum and sum     a block 64 rows, a split
//	join           -> logSum, loss of each row
//	loss           -> the mean
//	gradient       z, logSum -> each split's dz          a block 64 rows, a split
//	through        dz -> de                              a block a row
//
// All in float64: at temperature 1e-3 a float32 similarity is off by 1e-4 in the
// exponent. Bound by float64 arithmetic, half of float32's on a data centre's
// card: 3*rows*rows*d multiply-adds.

#define NTXENT_TILE 64
#define NTXENT_DEPTH 8
#define NTXENT_FLOOR 1e-12
// Below all logits: what stands for no logit.
#define NTXENT_NONE (-1.7976931348623157e308)

// The maximum or the sum of what the threads have, in one order.
static __device__ double ntxent_all(double x, double *s, bool most) {
  __syncthreads(); // s may still be read from before
  s[threadIdx.x] = x;
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x >= half) continue;
    double a = s[threadIdx.x], b = s[threadIdx.x + half];
    if (!most) s[threadIdx.x] = a + b;
    else if (b > a || b != b) s[threadIdx.x] = b;
  }
  __syncthreads();
  return s[0];
}

// z = e/norm, norm = max(length, floor), without overflow; negative: floored.
extern "C" __global__ void ntxent_normalise(const map_t *e, double *z, double *norm, int d) {
  __shared__ double s[THREADS];
  e += (ll)blockIdx.x * d, z += (ll)blockIdx.x * d;
  double top = 0.0, sum = 0.0;
  for (int k = threadIdx.x; k < d; k += THREADS) {
    double v = fabs((double)widened(e[k]));
    if (v > top || v != v) top = v;
  }
  top = ntxent_all(top, s, true);
  for (int k = threadIdx.x; k < d; k += THREADS) {
    double v = top > 0.0 ? widened(e[k]) / top : 0.0;
    sum += v * v;
  }
  double length = top * sqrt(ntxent_all(sum, s, false));
  double by = length < NTXENT_FLOOR ? NTXENT_FLOOR : length;
  for (int k = threadIdx.x; k < d; k += THREADS) z[k] = widened(e[k]) / by;
  if (threadIdx.x == 0) norm[blockIdx.x] = length < NTXENT_FLOOR ? -by : by;
}

// A thread's 4x4 sums of a tile; its rows and columns lie 16 apart, so that
// threads beside each other read shared memory beside each other.
struct NtxentSums {
  double sum[4][4];

  static __device__ __forceinline__ int row(int i) { return threadIdx.x / 16 + 16 * i; }
  static __device__ __forceinline__ int col(int j) { return threadIdx.x % 16 + 16 * j; }
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) sum[i][j] = 0.0;
  }
  __device__ __forceinline__ void add(const double *x, const double *y) {
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) sum[i][j] = fma(x[i], y[j], sum[i][j]);
  }
};

// Shared memory of a block: pieces [NTXENT_DEPTH][NTXENT_TILE + 1] of two
// operands, and a tile [NTXENT_TILE][NTXENT_TILE + 1].
#define NTXENT_LINE (NTXENT_TILE + 1)
#define NTXENT_PIECE (NTXENT_DEPTH * NTXENT_LINE)
#define NTXENT_SQUARE (NTXENT_TILE * NTXENT_LINE)

// Brings elements [k,k+NTXENT_DEPTH) of 64 rows from row on.
static __device__ __forceinline__ void ntxent_rows(const double *z, int row, int rows, int k, int d, double *piece) {
  for (int t = threadIdx.x; t < NTXENT_TILE * NTXENT_DEPTH; t += THREADS) {
    int i = t / NTXENT_DEPTH, at = t % NTXENT_DEPTH;
    piece[at * NTXENT_LINE + i] = row + i < rows && k + at < d ? z[(ll)(row + i) * d + k + at] : 0.0;
  }
}

// The logits of 64 rows by 64 columns, to a tile; NTXENT_NONE where row and
// column are one, and outside.
static __device__ void ntxent_logits(const double *z, int row, int col, int rows, int d, double temperature, double *a, double *b,
                                     double *tile) {
  NtxentSums o;
  o.clear();
  for (int k = 0; k < d; k += NTXENT_DEPTH) {
    __syncthreads(); // pieces may still be read from before
    ntxent_rows(z, row, rows, k, d, a);
    ntxent_rows(z, col, rows, k, d, b);
    __syncthreads();
#pragma unroll
    for (int at = 0; at < NTXENT_DEPTH; at++) {
      double x[4], y[4];
#pragma unroll
      for (int i = 0; i < 4; i++) x[i] = a[at * NTXENT_LINE + o.row(i)], y[i] = b[at * NTXENT_LINE + o.col(i)];
      o.add(x, y);
    }
  }
  __syncthreads(); // so may be the tile
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) {
      int r = row + o.row(i), c = col + o.col(j);
      tile[o.row(i) * NTXENT_LINE + o.col(j)] = r == c || r >= rows || c >= rows ? NTXENT_NONE : o.sum[i][j] / temperature;
    }
  __syncthreads();
}

// A sum of exponentials: sum*exp(top).
struct NtxentTotal {
  double top, sum;

  __device__ __forceinline__ void add(double t, double s) {
    if (t == NTXENT_NONE) return;
    if (top == NTXENT_NONE) {
      top = t, sum = s;
      return;
    }
    double peak = t > top || t != t ? t : top;
    sum = sum * exp(top - peak) + s * exp(t - peak);
    top = peak;
  }
};

// Of a row's quarter of a tile.
static __device__ NtxentTotal ntxent_total(const double *row) {
  NtxentTotal t = {NTXENT_NONE, 0.0};
  for (int j = 0; j < NTXENT_TILE / 4; j++)
    if (row[j] > t.top || row[j] != row[j]) t.top = row[j];
  for (int j = 0; j < NTXENT_TILE / 4 && t.top != NTXENT_NONE; j++)
    if (row[j] != NTXENT_NONE) t.sum += exp(row[j] - t.top);
  return t;
}

// The tiles of columns of a block, its split's part of all.
static __device__ __forceinline__ int ntxent_from(int split, int splits, int rows) {
  int tiles = (rows + NTXENT_TILE - 1) / NTXENT_TILE;
  return (int)((ll)split * tiles / splits) * NTXENT_TILE;
}

// totals[split][row] are its maximum and sum; positive[row] is the logit of its
// partner. Block: 64 rows, then a split.
extern "C" __global__ void ntxent_sums(const double *z, double *totals, double *positive, int rows, int d, int splits, double temperature) {
  __shared__ double a[NTXENT_PIECE], b[NTXENT_PIECE], tile[NTXENT_SQUARE];
  int split = blockIdx.x % splits, row = blockIdx.x / splits * NTXENT_TILE;
  int own = threadIdx.x / 4, quarter = threadIdx.x % 4 * (NTXENT_TILE / 4);
  NtxentTotal total = {NTXENT_NONE, 0.0};
  for (int col = ntxent_from(split, splits, rows); col < ntxent_from(split + 1, splits, rows); col += NTXENT_TILE) {
    ntxent_logits(z, row, col, rows, d, temperature, a, b, tile);
    NtxentTotal t = ntxent_total(tile + own * NTXENT_LINE + quarter);
    total.add(t.top, t.sum);
    int partner = ((row + own) ^ 1) - col - quarter;
    if (row + own < rows && partner >= 0 && partner < NTXENT_TILE / 4) positive[row + own] = tile[own * NTXENT_LINE + quarter + partner];
  }
  __syncthreads();
  tile[2 * threadIdx.x] = total.top, tile[2 * threadIdx.x + 1] = total.sum;
  __syncthreads();
  if (threadIdx.x % 4 != 0 || row + own >= rows) return;
  for (int q = 1; q < 4; q++) total.add(tile[2 * (threadIdx.x + q)], tile[2 * (threadIdx.x + q) + 1]);
  double *to = totals + 2 * ((ll)split * rows + row + own);
  to[0] = total.top, to[1] = total.sum;
}

// Of each row: the logarithm of its sum, and its loss in place of positive.
extern "C" __global__ void ntxent_join(const double *totals, double *positive, double *logsum, int rows, int splits) {
  EACH(i, rows) {
    NtxentTotal total = {NTXENT_NONE, 0.0};
    for (int s = 0; s < splits; s++) total.add(totals[2 * ((ll)s * rows + i)], totals[2 * ((ll)s * rows + i) + 1]);
    logsum[i] = total.top + log(total.sum);
    positive[i] = logsum[i] - positive[i];
  }
}

// The mean of all rows' losses times scale: one block.
extern "C" __global__ void ntxent_loss(const double *losses, float *loss, int rows, double scale) {
  __shared__ double s[THREADS];
  double sum = 0.0;
  for (int i = threadIdx.x; i < rows; i += THREADS) sum += losses[i];
  sum = ntxent_all(sum, s, false);
  if (threadIdx.x == 0) loss[0] = (float)(sum / rows * scale);
}

// Turns a tile of logits into the weights of z_j in dz_i.
static __device__ __forceinline__ void ntxent_weigh(double *tile, int row, int col, int rows, const double *logsum) {
  for (int t = threadIdx.x; t < NTXENT_TILE * NTXENT_TILE; t += THREADS) {
    int i = row + t / NTXENT_TILE, j = col + t % NTXENT_TILE;
    double *s = tile + t / NTXENT_TILE * NTXENT_LINE + t % NTXENT_TILE, g = 0.0;
    if (i < rows && j < rows && i != j) g = exp(*s - logsum[i]) + exp(*s - logsum[j]);
    *s = j == (i ^ 1) ? g - 2.0 : g;
  }
}

// dz[split][rows][d], without its factor. Block: 64 rows, then a split; a thread
// adds to elements of dz that no other touches.
extern "C" __global__ void ntxent_gradient(const double *z, const double *logsum, double *dz, int rows, int d, int splits,
                                           double temperature) {
  __shared__ double a[NTXENT_PIECE], b[NTXENT_PIECE], tile[NTXENT_SQUARE];
  int split = blockIdx.x % splits, row = blockIdx.x / splits * NTXENT_TILE, begin = ntxent_from(split, splits, rows);
  dz += (ll)split * rows * d;
  for (int col = begin; col < ntxent_from(split + 1, splits, rows); col += NTXENT_TILE) {
    ntxent_logits(z, row, col, rows, d, temperature, a, b, tile);
    ntxent_weigh(tile, row, col, rows, logsum);
    for (int k = 0; k < d; k += NTXENT_TILE) {
      NtxentSums o;
      o.clear();
      for (int j = 0; j < NTXENT_TILE; j += NTXENT_DEPTH) {
        __syncthreads(); // the weights are there, the piece may still be read
        for (int t = threadIdx.x; t < NTXENT_TILE * NTXENT_DEPTH; t += THREADS) {
          int at = t / NTXENT_TILE, e = k + t % NTXENT_TILE, other = col + j + at;
          b[at * NTXENT_LINE + t % NTXENT_TILE] = other < rows && e < d ? z[(ll)other * d + e] : 0.0;
        }
        __syncthreads();
#pragma unroll
        for (int at = 0; at < NTXENT_DEPTH; at++) {
          double x[4], y[4];
#pragma unroll
          for (int i = 0; i < 4; i++) x[i] = tile[o.row(i) * NTXENT_LINE + j + at], y[i] = b[at * NTXENT_LINE + o.col(i)];
          o.add(x, y);
        }
      }
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
          if (row + o.row(i) >= rows || k + o.col(j) >= d) continue;
          double *to = dz + (ll)(row + o.row(i)) * d + k + o.col(j);
          *to = (col == begin ? 0.0 : *to) + o.sum[i][j];
        }
    }
  }
}

// Joins the splits of a row's dz and takes it through the normalisation: what
// points along z falls away, except where the length was floored. dz of the
// first split holds the sum.
extern "C" __global__ void ntxent_through(const double *z, const double *norm, double *dz, map_t *de, int rows, int d, int splits,
                                          double factor) {
  __shared__ double s[THREADS];
  ll at = (ll)blockIdx.x * d;
  double length = norm[blockIdx.x], along = 0.0;
  for (int k = threadIdx.x; k < d; k += THREADS) {
    double sum = dz[at + k];
    for (int p = 1; p < splits; p++) sum += dz[(ll)p * rows * d + at + k];
    dz[at + k] = sum;
    along += z[at + k] * sum;
  }
  along = ntxent_all(along, s, false);
  if (length < 0.0) along = 0.0, length = -length;
  for (int k = threadIdx.x; k < d; k += THREADS) de[at + k] = narrowed((float)((dz[at + k] - along * z[at + k]) * factor / length));
}
