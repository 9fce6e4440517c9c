"""Products of rows with a matrix, whose weights stand in panels: one for each line of outputs, (panels, inputs, lanes).

Weights stand in an array of their own, `narrow`, whose type says how they are stored (see `narrowing`); everything else
is as in `kernels`, and `tiles` has the arithmetic. (`no_type_check` keeps the tests' run-time checks out of what numba
compiles.)
"""

from typing import no_type_check

from leadline.sampling.compiled.instructions import AFTER, P2
from leadline.sampling.compiled.kernels import TANH, compiled, once, tanh, unary
from leadline.sampling.compiled.lanes import get, lanes, load, store
from leadline.sampling.compiled.tiles import PANELS, TILE, four_panels, one_panel, two_panels


@once
@no_type_check
def pass_through(memory, words, at, where, rows):
    """Let the results of a product pass through the function that follows it."""
    function, none, line = get(words, at + AFTER), get(memory, 0), lanes(memory)
    width = get(words, at + P2) * line
    for r in range(rows):
        first = get(where, r)
        if function == TANH:  # most models' choice is worth a copy that is not called
            for c in range(first, first + width, line):
                store(memory, c, tanh(load(memory, c)))
        else:
            for c in range(first, first + width, line):
                store(memory, c, unary(function, load(memory, c), none))


@compiled
@no_type_check
def multiply_row(memory, narrow, words, at, where, many):
    """Write the products of one row with a matrix, four panels at once: as many as are read side by side."""
    panel, panels = many - many, get(words, at + P2)
    while panel + 3 < panels:
        four_panels(memory, narrow, words, at, where, many, panel, 0, 1)
        panel += 4
    multiply_panels(memory, narrow, words, at, where, many, panel, 1)


@compiled
@no_type_check
def multiply_rows(memory, narrow, words, at, where, many, rows):
    """Write the products of rows with a matrix."""
    multiply_panels(memory, narrow, words, at, where, many, 0, rows)


@compiled
@no_type_check
def multiply_panels(memory, narrow, words, at, where, many, panel, rows):
    """Write the products of rows with the panels from one on, tile by tile.

    A tile's panels are read from afar once, and are near for the rows that follow, which are divided evenly.
    """
    panels = get(words, at + P2)
    while panel < panels:
        pair, r = PANELS == 2 and panel + 1 < panels, rows - rows
        while r < rows:
            left = rows - r
            now = left if left <= TILE else TILE if left >= 2 * TILE else (left + 1) // 2
            if pair:
                two_panels(memory, narrow, words, at, where, many, panel, r, now)
            else:
                one_panel(memory, narrow, words, at, where, many, panel, r, now)
            r += now
        panel += 2 if pair else 1
