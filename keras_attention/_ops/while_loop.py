"""Loops whose turns wait for each other."""

import math

from keras import ops


def sequential_fori_loop(first, last, step, state):
    """`ops.fori_loop`, one turn after the other.

    TensorFlow runs up to `parallel_iterations` turns at once, 10 by default, where only their
    numbers depend on each other, and would hold the blocks of all: so the next number waits for
    what a turn gives. `ops.while_loop` does not pass that setting on.
    """

    def turn(i, *state):
        state = step(i, state)
        for x in state:
            never = ops.any(ops.reshape(x, (-1,))[:1] < -math.inf)  # not even in an empty batch
            i = i + ops.cast(never, "int32")
        return (i + 1, *state)

    first = ops.convert_to_tensor(first, "int32")
    return ops.while_loop(lambda i, *state: i < last, turn, (first, *state))[1:]
