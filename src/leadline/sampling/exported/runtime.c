/* What every exported stream is made of. A variable is a row of columns for each channel, one column for each position;
   it is computed from column `from` of a block up to, not including, column `to`. */

#ifndef LANES
#if defined(__GNUC__) && defined(__AVX512F__)
#define LANES (64 / (int)sizeof(real))
#elif defined(__GNUC__)
#define LANES (32 / (int)sizeof(real))
#else
#define LANES 1
#endif
#endif

#if defined(__GNUC__)
typedef real lanes __attribute__((vector_size(LANES * sizeof(real)), aligned(sizeof(real)), may_alias));
#define LOAD(p) (*(const lanes *)(p))
#define STORE(p, x) (*(lanes *)(p) = (x))
#define SPREAD(x) ((x) - (lanes){0})
#else
typedef real lanes;
#define LOAD(p) (*(p))
#define STORE(p, x) (*(p) = (x))
#define SPREAD(x) (x)
#endif

/* Four outputs, or one, at two lines of positions: y = bias + sum over i of w[i] x[i]. */
static inline void product_4x2(real *y, long ys, const real *const *x, const real *w, int in, int out,
                               const real *bias, long t) {
    lanes a0 = SPREAD(bias[0]), a1 = SPREAD(bias[1]), a2 = SPREAD(bias[2]), a3 = SPREAD(bias[3]);
    lanes b0 = a0, b1 = a1, b2 = a2, b3 = a3;
    for (int i = 0; i < in; i++, w += out) {
        const lanes p = LOAD(x[i] + t), q = LOAD(x[i] + t + LANES);
        a0 += w[0] * p; a1 += w[1] * p; a2 += w[2] * p; a3 += w[3] * p;
        b0 += w[0] * q; b1 += w[1] * q; b2 += w[2] * q; b3 += w[3] * q;
    }
    y += t;
    STORE(y, a0); STORE(y + ys, a1); STORE(y + 2 * ys, a2); STORE(y + 3 * ys, a3);
    y += LANES;
    STORE(y, b0); STORE(y + ys, b1); STORE(y + 2 * ys, b2); STORE(y + 3 * ys, b3);
}

static inline void product_1x2(real *y, const real *const *x, const real *w, int in, int out, const real *bias,
                               long t) {
    lanes a = SPREAD(bias[0]), b = a;
    for (int i = 0; i < in; i++, w += out) {
        a += w[0] * LOAD(x[i] + t);
        b += w[0] * LOAD(x[i] + t + LANES);
    }
    STORE(y + t, a);
    STORE(y + t + LANES, b);
}

/* One position: outputs lie side by side, as the weights do. */
static inline void product_at(real *y, long ys, const real *const *x, const real *w, int in, int out,
                              const real *bias, long t, real *scratch) {
    for (int o = 0; o < out; o++) scratch[o] = bias[o];
    for (int i = 0; i < in; i++) {
        const real a = x[i][t];
        for (int o = 0; o < out; o++) scratch[o] += w[i * (long)out + o] * a;
    }
    for (int o = 0; o < out; o++) y[o * ys + t] = scratch[o];
}

static inline void product(real *y, long ys, const real *const *x, const real *w, int in, int out,
                           const real *bias, long from, long to, real *scratch) {
    long t = from;
    for (; t + 2 * LANES <= to; t += 2 * LANES) {
        int o = 0;
        for (; o + 4 <= out; o += 4) product_4x2(y + o * ys, ys, x, w + o, in, out, bias + o, t);
        for (; o < out; o++) product_1x2(y + o * ys, x, w + o, in, out, bias + o, t);
    }
    for (; t < to; t++) product_at(y, ys, x, w, in, out, bias, t, scratch);
}

/* exp for floats: 2^k times a polynomial in the rest; without branches, so that compilers make lines of it. */
static inline float exp_single(float x) {
    float z = x < -87.3f ? -87.3f : x;
    z = z > 88.7f ? 88.7f : z;
    const int k = (int)(z * 1.44269504f + 128.5f) - 128;
    const float r = (z - (float)k * 0.693359375f) + (float)k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const union { int i; float f; } half = {(k / 2 + 127) * 8388608}, rest = {(k - k / 2 + 127) * 8388608};
    p = p * half.f * rest.f;
    p = x > 88.7f ? p * 3.0f : p; /* infinite, as it should be */
    return x < -87.3f ? 0.0f : p;
}

#define EXP(x) (sizeof(real) == sizeof(float) ? (real)exp_single((float)(x)) : (real)exp((double)(x)))

static inline real f_copy(real x, real p) { (void)p; return x; }
static inline real f_relu(real x, real p) { (void)p; return x < 0 ? 0 : x; }
static inline real f_sigmoid(real x, real p) { (void)p; return 1 / (1 + EXP(-x)); }
static inline real f_tanh(real x, real p) { (void)p; return 1 - 2 / (1 + EXP(2 * x)); }
static inline real f_silu(real x, real p) { return x * f_sigmoid(x, p); }
static inline real f_gelu(real x, real p) { (void)p; return (real)(0.5 * x * (1 + erf(x * 0.70710678118654752440))); }
static inline real f_gelu_tanh(real x, real p) {
    return (real)0.5 * x * (1 + f_tanh((real)0.79788456080286535588 * (x + (real)0.044715 * x * x * x), p));
}
static inline real f_exp(real x, real p) { (void)p; return EXP(x); }
static inline real f_neg(real x, real p) { (void)p; return -x; }
static inline real f_square(real x, real p) { (void)p; return x * x; }
static inline real f_leaky(real x, real p) { return x < 0 ? p * x : x; }
static inline real f_elu(real x, real p) { return x < 0 ? p * (real)expm1(x) : x; }
static inline real f_sqrt(real x, real p) { (void)p; return (real)sqrt(x); }
static inline real f_rsqrt(real x, real p) { (void)p; return 1 / (real)sqrt(x); }
static inline real f_log(real x, real p) { (void)p; return (real)log(x); }
static inline real f_softplus(real x, real p) { (void)p; return x > 20 ? x : (real)log1p(exp(x)); }

static inline real f_abs(real x, real p) { (void)p; return (real)fabs(x); }
static inline real f_floor(real x, real p) { (void)p; return (real)floor(x); }
static inline real f_ceil(real x, real p) { (void)p; return (real)ceil(x); }
static inline real f_round(real x, real p) { (void)p; return (real)rint(x); }
static inline real f_trunc(real x, real p) { (void)p; return (real)trunc(x); }
static inline real f_sign(real x, real p) { (void)p; return (real)((x > 0) - (x < 0)); }
static inline real f_single(real x, real p) { (void)p; return (real)(float)x; }
static inline real f_erf(real x, real p) { (void)p; return (real)erf(x); }
static inline real f_expm1(real x, real p) { (void)p; return (real)expm1(x); }
static inline real f_log1p(real x, real p) { (void)p; return (real)log1p(x); }
static inline real f_sin(real x, real p) { (void)p; return (real)sin(x); }
static inline real f_cos(real x, real p) { (void)p; return (real)cos(x); }

static inline real g_add(real a, real b) { return a + b; }
static inline real g_sub(real a, real b) { return a - b; }
static inline real g_rsub(real a, real b) { return b - a; }
static inline real g_mul(real a, real b) { return a * b; }
static inline real g_div(real a, real b) { return a / b; }
static inline real g_maximum(real a, real b) { return a != a ? a : b != b ? b : a > b ? a : b; }
static inline real g_minimum(real a, real b) { return a != a ? a : b != b ? b : a < b ? a : b; }
static inline real g_lt(real a, real b) { return a < b; }
static inline real g_le(real a, real b) { return a <= b; }
static inline real g_eq(real a, real b) { return a == b; }
static inline real g_ne(real a, real b) { return a != b; }
static inline real g_pow(real a, real b) { return (real)pow(a, b); }
static inline real g_choose(real a, real b, real c) { return a != 0 ? b : c; }
static inline real g_affine(real a, real b, real c) { return a * b + c; }
static inline real g_blend(real a, real b, real c) { return b + a * (c - b); }
static inline real g_addmul(real a, real b, real c) { return a + b * c; }
static inline real g_muladd(real a, real b, real c, real d) { return a * b + c * d; }

/* Softmax of n numbers that lie `apart` from each other. */
static inline void softmax(real *y, long apart, const real *x, long apart_x, int n) {
    real top = x[0], total = 0;
    for (int c = 1; c < n; c++) top = x[c * apart_x] > top ? x[c * apart_x] : top;
    for (int c = 0; c < n; c++) {
        y[c * apart] = EXP(x[c * apart_x] - top);
        total += y[c * apart];
    }
    for (int c = 0; c < n; c++) y[c * apart] /= total;
}
