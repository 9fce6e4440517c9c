/* @model@, as a stream. Made by leadline @version@.

   The caller owns the state: no function allocates, locks or waits, and each takes a time that its arguments bound. A
   step takes @limit@ in all. Functions return 0, or 1 where the sequence would be longer than
   that, or 2 where the model has no row for a class; after a 2 the state must be reset. */

#ifndef @NAME@_H
#define @NAME@_H

#ifdef __cplusplus
extern "C" {
#endif

#include <stddef.h>

enum { @NAME@_INPUTS = @inputs@, @NAME@_OUTPUTS = @outputs@ };

typedef struct @name@_state {
@state@
} @name@_state;

/* Bytes of a state, for who does not know its type. */
size_t @name@_bytes(void);

/* Begin a sequence; a state must be reset before its first step. */
int @name@_reset(@name@_state *state);

/* Go on with n positions: `in` holds their inputs and `out` their outputs, one position after another. */
int @name@_step(@name@_state *state, const @given@ *in, @real@ *out, long n);

/* The same, where numbers lie so far apart: from one position to the next, and from one channel to the next. */
int @name@_step_apart(@name@_state *state, const @given@ *in, long in_position, long in_channel, @real@ *out,
                      long out_position, long out_channel, long n);
@next@
#ifdef __cplusplus
}
#endif

#endif
