/* @model@, as a stream. Made by leadline @version@: C99, needs the mathematics library alone.
   cc -O3 -march=native -c @name@.c
   With -D@NAME@_MAIN a program that reads inputs from its standard input and writes outputs, both as raw numbers. */

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3", "no-trapping-math", "no-math-errno", "fp-contract=fast")
/* or loops of known length are not unrolled, no line of numbers goes through a function at once, and products are
   rounded before they are added */
#if defined(__AVX512F__)
#pragma GCC target("prefer-vector-width=512")
#endif
#endif

#include "@name@.h"

#include <math.h>
#include <string.h>

typedef @real@ real;
#define STATE @name@_state
#define BLOCK @block_size@

@runtime@
@widths@

@arrays@

/* The first column of a block at which a variable has a point: one with a delay begins so many fronts later. */
static inline long after(const STATE *s, long delay, long n) {
    return delay <= s->front ? 0 : delay - s->front < n ? delay - s->front : n;
}

@functions@
/* Columns that are computed: where no number is wrong to have, up to the end of a line. */
static inline long lines(long n) { return n == 1 ? 1 : (n + LANES - 1) / LANES * LANES; }

static int block(STATE *s, long n) {
    const long wide = lines(n);
    long from = 0;
    int error = 0;
    (void)wide; (void)from;
    @block@
    return error;
}

static void make_room(STATE *s, long n) {
    const long wide = lines(n);
    @room@
    (void)s; (void)wide;
}

static void go_on(STATE *s, long n) {
    @on@
    s->front += n;
}

size_t @name@_bytes(void) { return sizeof(STATE); }

int @name@_reset(STATE *s) {
    @reset@
    s->front = -@first@;
    s->at = 0;
    while (s->front < 0) {
        const long n = -s->front < BLOCK ? -s->front : BLOCK;
        make_room(s, n);
        const int error = block(s, n);
        if (error) return error;
        go_on(s, n);
    }
    return 0;
}

/* Inputs and outputs lie so many numbers apart: from position to position, and from channel to channel. */
static inline int run(STATE *s, const void *in, int wide, long in_position, long in_channel, real *out,
                      long out_position, long out_channel, long n) {
    @length@
    long t0 = 0;
    (void)wide;
    while (n > 0) {
        const long some = n < BLOCK ? n : BLOCK;
        make_room(s, some);
        for (int c = 0; c < @inputs@; c++)
            for (long t = 0; t < some; t++) {
                const long i = (t0 + t) * in_position + c * in_channel;
                @in@ = @read@;
            }
        const int error = block(s, some);
        if (error) return error;
        for (int c = 0; c < @outputs@; c++)
            for (long t = 0; t < some; t++) out[(t0 + t) * out_position + c * out_channel] = @out@;
        go_on(s, some);
        s->at += some;
        t0 += some;
        n -= some;
    }
    return 0;
}

int @name@_step(STATE *s, const @given@ *in, real *out, long n) {
    return run(s, in, 0, @inputs@, 1, out, @outputs@, 1, n);
}

int @name@_step_apart(STATE *s, const @given@ *in, long in_position, long in_channel, real *out, long out_position,
                      long out_channel, long n) {
    return run(s, in, 0, in_position, in_channel, out, out_position, out_channel, n);
}
@next@
#ifdef @NAME@_MAIN
#include <stdio.h>

int main(void) {
    static STATE state;
    static @given@ in[BLOCK * @inputs@];
    static real out[BLOCK * @outputs@];
    size_t n;
    if (@name@_reset(&state)) return 1;
    while ((n = fread(in, sizeof(*in) * @inputs@, BLOCK, stdin)) > 0) {
        const int error = @name@_step(&state, in, out, (long)n);
        if (error) return error;
        fwrite(out, sizeof(real) * @outputs@, n, stdout);
        fflush(stdout);
    }
    return 0;
}
#endif
