// Element by element.

extern "C" __global__ void relu(const map_t *x, map_t *y, ll n) {
  EACH(i, n) y[i] = narrowed(rectified(widened(x[i])));
}

extern "C" __global__ void relu_grad(const map_t *dy, const map_t *y, map_t *dx, ll n) {
  EACH(i, n) dx[i] = narrowed(widened(y[i]) > 0.0f ? widened(dy[i]) : 0.0f);
}

extern "C" __global__ void add(const map_t *a, const map_t *b, map_t *y, ll n) {
  EACH(i, n) y[i] = narrowed(widened(a[i]) + widened(b[i]));
}

// g += scale*(a-b)
extern "C" __global__ void pull(const float *a, const float *b, float *g, float scale, ll n) {
  EACH(i, n) g[i] += scale * (a[i] - b[i]);
}

// Adds a bias [c] to maps of c channels, after a product that has none.
extern "C" __global__ void add_bias(const float *bias, map_t *y, int c, ll n) {
  EACH(i, n) y[i] = narrowed(widened(y[i]) + bias[i % c]);
}

// Numbers as elements of maps: weights for products with maps.
extern "C" __global__ void narrow(const float *x, map_t *y, ll n) {
  EACH(i, n) y[i] = narrowed(x[i]);
}

// Adds a gradient of weights that a library made in the type of maps.
extern "C" __global__ void add_narrow(const map_t *x, float *y, ll n) {
  EACH(i, n) y[i] += widened(x[i]);
}
