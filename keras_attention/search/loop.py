"""What all searches share: the result, the loop, and writing to its buffers."""

import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_attention.search.loop_state import shared_parts


class SearchResult(NamedTuple):
    """The sequences that a search found, best first.

    Attributes:
        tokens: (B, N, T), int32; after the end id, more end ids.
        lengths: (B, N), int32: the number of tokens before the end id.
        log_probs: (B, N), float32: log p of the tokens and the end id. -inf where there are fewer
            than N sequences, and NaN where the logits were; such a sequence ends there.
        scores: (B, N), float32: `log_probs` with the penalties, by which the results are ranked.
        attention: (B, N, T, S): the attention weights of each step, zero after the end; (B, N, T,
            H, W) over feature maps, None if the step returns None for them.
    """

    tokens: Any
    lengths: Any
    log_probs: Any
    scores: Any
    attention: Any


class FlatStep:
    """A step whose weights are always (N, S): more axes are flattened, None becomes (N, 0).

    The first call, before the loop, fixes the axes.
    """

    def __init__(self, step: Callable) -> None:
        self.step = step
        self.shared_parts = shared_parts(step)
        self._axes: tuple | None = None  # those of the weights, without N

    @property
    def has_weights(self) -> bool:
        return self._axes != ()

    def __call__(self, tokens: Any, state: Any) -> tuple:
        logits, weights, state = self.step(tokens, state)
        if self._axes is None:
            self._axes = () if weights is None else ops.shape(weights)[1:]
        if weights is None:
            weights = ops.zeros((ops.shape(tokens)[0], 0), dtype="float32")
        elif len(self._axes) > 1:
            weights = ops.reshape(weights, (ops.shape(tokens)[0], math.prod(self._axes)))
        return logits, weights, state

    def unflatten(self, attention: Any) -> Any:
        """Returns weights (B, N, T, S) with the axes of the step's; None if it has none."""
        if not self._axes:
            return None
        return ops.reshape(attention, (*ops.shape(attention)[:-1], *self._axes))


def run_loop(body: Callable, loop_vars: dict, max_length: int, done: Callable) -> dict:
    """Runs `body(time, loop_vars)` from step 1 until `done(loop_vars)` or `max_length` steps."""
    _, loop_vars = ops.while_loop(
        lambda time, loop_vars: ops.logical_not(done(loop_vars)),
        lambda time, loop_vars: (time + 1, body(time, loop_vars)),
        (ops.convert_to_tensor(1, dtype="int32"), loop_vars),
        maximum_iterations=max_length - 1,
    )
    return loop_vars


def get_batch_size(state: Any) -> Any:
    """Returns the number of rows of a state."""
    return ops.shape(keras.tree.flatten(state)[0])[0]


def validate_ids(start_id: Any, end_id: Any, vocabulary: int | None) -> None:
    """Checks that the ids are tokens of the vocabulary, whose size must be known."""
    if vocabulary is None:
        raise ValueError("`step` returns logits of unknown width; expected a known one.")
    if end_id is None:  # Pointers may start from a position that no step returns.
        return
    ids = {"end_id": end_id}
    if isinstance(start_id, numbers.Number):
        ids["start_id"] = start_id
    for argument, value in ids.items():
        if not isinstance(value, numbers.Integral) or not 0 <= int(value) < vocabulary:
            raise ValueError(
                f"`{argument}` is {value!r}; expected an integer, 0 <= {argument} < {vocabulary}."
            )


def first_tokens(start_id: Any, batch_size: Any) -> Any:
    """Returns the tokens of the first step, (B,)."""
    return ops.broadcast_to(ops.cast(start_id, "int32"), (batch_size,))


def fill_id(end_id: int | None) -> int:
    """Returns the token that stands behind the end of a sequence."""
    return 0 if end_id is None else end_id


def is_end(tokens: Any, end_id: int | None) -> Any:
    """Returns where the tokens end a sequence; nowhere without an end id."""
    return ops.zeros_like(tokens, dtype="bool") if end_id is None else tokens == end_id


def full_int32(shape: tuple, value: int) -> Any:
    """Returns an int32 tensor filled with `value`."""
    return ops.full(shape, value, dtype="int32")


def write_step(buffer: Any, time: Any, values: Any) -> Any:
    """Writes `values` (...,) at step `time` of `buffer` (..., T)."""
    is_now = ops.arange(buffer.shape[-1], dtype="int32") == time
    return ops.where(is_now, values[..., None], buffer)


def write_time_major(buffer: Any, time: Any, values: Any) -> Any:
    """Writes `values` at step `time` of `buffer`, whose first axis is time."""
    is_now = ops.arange(buffer.shape[0], dtype="int32") == time
    return ops.where(ops.reshape(is_now, (-1, *[1] * len(values.shape))), values[None], buffer)
