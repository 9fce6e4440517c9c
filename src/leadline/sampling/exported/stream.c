/* @model@, as a stream. Made by leadline @version@: C99, needs the mathematics library alone.
   cc -O3 -march=native -c @name@.c
   With -D@NAME@_MAIN a program that reads inputs from its standard input and writes outputs, both as raw numbers. */

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-trapping-math", "no-math-errno") /* or no line of numbers goes through a function at once */
#endif

#include "@name@.h"

#include <math.h>
#include <string.h>

typedef @real@ real;
#define STATE @name@_state

@runtime@
@widths@

@arrays@

/* The first column of a block at which a variable has a point: one with a delay begins so many fronts later. */
static inline long after(const STATE *s, long delay, long n) {
    return delay <= s->front ? 0 : delay - s->front < n ? delay - s->front : n;
}

@functions@
static int block(STATE *s, long n) {
    int error = 0;
    @block@
    return error;
}

static void make_room(STATE *s, long n) {
    @room@
    (void)s; (void)n;
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
        const long n = -s->front < @block_size@ ? -s->front : @block_size@;
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
        const long some = n < @block_size@ ? n : @block_size@;
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
    static @given@ in[@block_size@ * @inputs@];
    static real out[@block_size@ * @outputs@];
    size_t n;
    if (@name@_reset(&state)) return 1;
    while ((n = fread(in, sizeof(*in) * @inputs@, @block_size@, stdin)) > 0) {
        const int error = @name@_step(&state, in, out, (long)n);
        if (error) return error;
        fwrite(out, sizeof(real) * @outputs@, n, stdout);
        fflush(stdout);
    }
    return 0;
}
#endif
