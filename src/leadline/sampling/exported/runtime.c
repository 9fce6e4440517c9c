/* What every exported stream is made of. A variable is a row of columns for each channel, one column for each position;
   it is computed from column `from` of a block up to, not including, column `to`. */

/* Work goes along lines: as many neighbouring numbers as fill a register, where the compiler knows of such. */
#if defined(__GNUC__) && defined(__AVX512F__)
#define LANES (64 / (int)sizeof(real))
#define LINES 4 /* that a product works on at once: with four outputs, half of the registers */
#elif defined(__GNUC__) && defined(__AVX__)
#define LANES (32 / (int)sizeof(real))
#define LINES 2
#elif defined(__GNUC__)
#define LANES (16 / (int)sizeof(real))
#define LINES 2
#else
#define LANES 1
#define LINES 4
#endif

#if defined(__GNUC__)
typedef real lanes __attribute__((vector_size(LANES * sizeof(real)), aligned(sizeof(real)), may_alias));
typedef real four __attribute__((vector_size(4 * sizeof(real)), aligned(sizeof(real)), may_alias));
#define INLINED static inline __attribute__((always_inline))
#else
typedef real lanes;
#define INLINED static inline
#endif

#if defined(__clang__)
#define ANY_ORDER _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define ANY_ORDER _Pragma("GCC ivdep")
#else
#define ANY_ORDER /* the steps of the loop that follows rest on none before them */
#endif

/* What a product reads and writes at a block's first column: y = bias + sum of w[i] x[i] + sums of what else is added.
   Weights are (in, out) numbers; rows that are added are (added, out). */
typedef struct {
    real *y;
    long apart; /* of one row of y from the next */
    const real *const *x;
    int in;
    const real *const *add;
    int added;
    const real *w, *bias;
    int out;
} product_of;

/* Some outputs at some lines: what they are is known where this is compiled, and the sums stay in registers. */
INLINED void product_at(const product_of *p, int o, long t, int outputs, int some) {
    lanes sum[8][LINES], x[LINES];
    const real *w = p->w + o;
    const real *const *add = p->add + o;
    for (int m = 0; m < outputs; m++)
        for (int l = 0; l < some; l++) sum[m][l] = p->bias[o + m] - (lanes){0};
    for (int k = 0; k < p->added; k++, add += p->out)
        for (int m = 0; m < outputs; m++)
            for (int l = 0; l < some; l++) sum[m][l] += *(const lanes *)(add[m] + t + l * LANES);
    for (int i = 0; i < p->in; i++, w += p->out) {
        for (int l = 0; l < some; l++) x[l] = *(const lanes *)(p->x[i] + t + l * LANES);
        for (int m = 0; m < outputs; m++)
            for (int l = 0; l < some; l++) sum[m][l] += w[m] * x[l];
    }
    for (int m = 0; m < outputs; m++)
        for (int l = 0; l < some; l++) *(lanes *)(p->y + (o + m) * p->apart + t + l * LANES) = sum[m][l];
}

/* One position: outputs lie side by side, as the weights do; sums of every fourth input do not wait for each other. */
#define OUTPUTS_ALONG(kind, count)                                             \
    for (; o + (count) <= p->out; o += (count)) {                              \
        const real *w = p->w + o;                                              \
        kind a = *(const kind *)(p->bias + o), b = a - a, c = b, d = b;        \
        int i = 0;                                                             \
        for (; i + 4 <= p->in; i += 4, w += 4 * (long)p->out) {                \
            a += p->x[i][t] * *(const kind *)w;                                \
            b += p->x[i + 1][t] * *(const kind *)(w + p->out);                 \
            c += p->x[i + 2][t] * *(const kind *)(w + 2 * (long)p->out);       \
            d += p->x[i + 3][t] * *(const kind *)(w + 3 * (long)p->out);       \
        }                                                                      \
        for (; i < p->in; i++, w += p->out) a += p->x[i][t] * *(const kind *)w; \
        *(kind *)(scratch + o) = (a + b) + (c + d);                            \
    }

static void product_once(const product_of *p, long t, real *scratch) {
    int o = 0;
#if defined(__GNUC__)
    if (LANES > 4) OUTPUTS_ALONG(lanes, LANES)
    OUTPUTS_ALONG(four, 4)
#endif
    OUTPUTS_ALONG(real, 1)
    for (int k = 0; k < p->added; k++)
        for (o = 0; o < p->out; o++) scratch[o] += p->add[k * (long)p->out + o][t];
    for (o = 0; o < p->out; o++) p->y[o * p->apart + t] = scratch[o];
}

static void product(const product_of *p, long from, long to, real *scratch) {
    for (long t = from; t < to;) {
        const long whole = t % LANES ? 0 : (to - t) / LANES;
        int o = 0;
        if (whole >= LINES) {
            for (; o + 4 <= p->out; o += 4) product_at(p, o, t, 4, LINES);
            for (; o < p->out; o++) product_at(p, o, t, 1, LINES);
            t += LINES * LANES;
        } else if (whole) {
            for (; o + 8 <= p->out; o += 8) product_at(p, o, t, 8, 1);
            for (; o < p->out; o++) product_at(p, o, t, 1, 1);
            t += LANES;
        } else
            product_once(p, t++, scratch);
    }
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

/* tanh for floats: a quotient of polynomials in x squared, fitted for the least relative error, which is some five units
   of the last place. */
static inline float tanh_single(float x) {
    const float q = x * x;
    float over = 2.14037179e-8f;
    over = over * q + 3.18764687e-5f;
    over = over * q + 5.30103408e-3f;
    over = over * q + 2.01198652e-1f;
    over = over * q + 1.50000012f;
    float under = 1.221763e-6f;
    under = under * q + 5.02328738e-4f;
    under = under * q + 3.90341021e-2f;
    under = under * q + 7.01198578e-1f;
    under = under * q + 1.5f;
    float y = x * over / under;
    y = y > 1.0f ? 1.0f : y;
    y = y < -1.0f ? -1.0f : y;
    y = x > 8.3f ? 1.0f : y; /* from there on, where powers of x may be infinite */
    return x < -8.3f ? -1.0f : y;
}

#define EXP(x) (sizeof(real) == sizeof(float) ? (real)exp_single((float)(x)) : (real)exp((double)(x)))

static inline real f_copy(real x, real p) { (void)p; return x; }
static inline real f_relu(real x, real p) { (void)p; return x < 0 ? 0 : x; }
static inline real f_sigmoid(real x, real p) { (void)p; return 1 / (1 + EXP(-x)); }
static inline real f_tanh(real x, real p) {
    (void)p;
    return sizeof(real) == sizeof(float) ? (real)tanh_single((float)x) : (real)(1 - 2 / (1 + exp(2 * (double)x)));
}
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
