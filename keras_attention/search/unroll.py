"""A step over its own outputs, where these are numbers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import rnn, validation
from keras_attention.search.step import FlatStep, LoopState


class Unrolled(NamedTuple):
    """The result of `unroll`.

    Attributes:
        outputs: (B, T, O); zero after the stop.
        attention: (B, T, S), or (B, T, H, W), the attention weights, zero after the stop; None if
            the step returns None for them.
        lengths: (B,), int32: the number of steps, that of the stop included.
        state: The state after step T.
    """

    outputs: Any
    attention: Any
    lengths: Any
    state: Any


def unroll(
    step: Callable, state: Any, first: Any, steps: int, stop: Callable | None = None
) -> Unrolled:
    """Unrolls a step over its own outputs: forecasts, frames and other numbers.

    All steps run in one loop, through which gradients flow.

    Args:
        step: Function of inputs (B, D) and a state to outputs (B, D), weights (B, S) or (B, H, W)
            or None, and the next state.
        state: The state before the first step.
        first: (B, D), the inputs of the first step.
        steps: The number of steps, T, a Python integer.
        stop: Function of outputs (B, T, D) to booleans (B, T), True at the last step of a sequence;
            what follows is zero. None: all sequences have T steps.

    Example:

    >>> found = ka.search.unroll(lambda x, state: (2 * x, None, state), [], np.ones((1, 1)), 3)
    >>> np.array(found.outputs).tolist()
    [[[2.0], [4.0], [8.0]]]
    """
    steps, step = validation.positive_integer("steps", steps), FlatStep(step)
    first = ops.convert_to_tensor(first)
    validation.rank("first", first.shape, "(batch, width)")
    output, weights, after = step(first, state)
    if not validation.shapes_match(output.shape, first.shape):
        raise ValueError(
            f"`first` has shape {tuple(first.shape)}, and `step` returns outputs of shape "
            f"{tuple(output.shape)}, which are its next inputs; expected the same."
        )
    outputs, all_weights = output[:, None], weights[:, None]
    if steps > 1:
        loop_state = LoopState(step, state, after)

        def advance(_: Any, last: tuple) -> tuple:
            output, weights, following = step(last[0], loop_state.merge(last[1]))
            return output, weights, (output, loop_state.changing(following))

        unread = ops.zeros((ops.shape(first)[0], steps - 1, 1), first.dtype)
        carried = (output, loop_state.changing(after))
        # The widest of all, as the loop casts what it returns.
        dtypes = [leaf.dtype for leaf in keras.tree.flatten((carried, weights))]
        widest = keras.backend.result_type(*dtypes)
        *rest, (_, changed) = rnn.scan(advance, unread, carried, dtype=widest)
        outputs = ops.concatenate([outputs, ops.cast(rest[0], output.dtype)], axis=1)
        all_weights = ops.concatenate([all_weights, ops.cast(rest[1], weights.dtype)], axis=1)
        after = loop_state.merge(changed)
    return stop_after(stop, outputs, step.unflatten(all_weights), after)


def stop_after(stop: Callable | None, outputs: Any, attention: Any, state: Any) -> Unrolled:
    """Returns the steps up to the first one for which `stop(outputs)`, (B, T) or (B, T, 1), holds.

    All steps without a `stop`.
    """
    batch_size, steps = ops.shape(outputs)[:2]
    if stop is None:
        return Unrolled(outputs, attention, ops.full((batch_size,), steps, dtype="int32"), state)
    stops = ops.convert_to_tensor(stop(outputs))
    dtype, shape = keras.backend.standardize_dtype(stops.dtype), tuple(stops.shape)
    expected = tuple(outputs.shape[:2])
    is_alike = shape[2:] in ((), (1,)) and validation.shapes_match(shape[:2], expected)
    if dtype != "bool" or not is_alike:
        raise ValueError(
            f"`stop` returned {dtype} of shape {shape}; expected booleans of shape {expected}, "
            "(batch, steps)."
        )
    stops = ops.cast(ops.reshape(stops, (batch_size, steps)), "int32")
    running = ops.cumsum(stops, axis=1) - stops == 0  # (B, T)
    outputs, attention = (
        x if x is None else masks.zero_masked(x, running) for x in (outputs, attention)
    )
    return Unrolled(outputs, attention, ops.sum(ops.cast(running, "int32"), axis=1), state)
