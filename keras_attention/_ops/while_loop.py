"""A `fori_loop` whose iterations never run in parallel."""

import math
from collections.abc import Callable
from typing import Any

from keras import ops

from keras_attention._internal.typing import Tensor


def sequential_fori_loop(
    first: Tensor, last: Tensor, step: Callable, state: tuple[Tensor, ...]
) -> Any:
    """`ops.fori_loop` with one iteration at a time.

    TensorFlow runs up to `parallel_iterations` at once, 10 by default, if they depend on each other
    by their counter only, and would hold the tiles of all of them. `ops.while_loop` has no such
    argument: so here the next counter depends on the state.
    """

    def body(i: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        state = step(i, state)
        for x in state:  # Never true, and without elements in an empty batch.
            dependency = ops.any(ops.reshape(x, (-1,))[:1] < -math.inf)
            i = i + ops.cast(dependency, "int32")
        return (i + 1, *state)

    first = ops.convert_to_tensor(first, "int32")
    return ops.while_loop(lambda i, *state: i < last, body, (first, *state))[1:]
