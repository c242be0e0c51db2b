"""What all searches share: the result, the loop, and writing to its buffers."""

import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops


class SearchResult(NamedTuple):
    """The sequences that a search found, best first.

    Attributes:
        tokens: (B, N, T), int32; after the end id, more end ids.
        lengths: (B, N), int32: the number of tokens before the end id.
        log_probs: (B, N), float32: log p of the tokens and the end id.
        scores: (B, N), float32: `log_probs` with the penalties, by which the results are ranked.
        attention: (B, N, T, S): the attention weights of each step, zero after the end.
    """

    tokens: Any
    lengths: Any
    log_probs: Any
    scores: Any
    attention: Any


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


def full_int32(shape: tuple, value: int) -> Any:
    """Returns an int32 tensor filled with `value`."""
    return ops.full(shape, value, dtype="int32")


def write_step(buffer: Any, time: Any, values: Any) -> Any:
    """Writes `values` (...,) at step `time` of `buffer` (..., T)."""
    return ops.where(ops.arange(buffer.shape[-1]) == time, values[..., None], buffer)


def write_time_major(buffer: Any, time: Any, values: Any) -> Any:
    """Writes `values` at step `time` of `buffer`, whose first axis is time."""
    is_now = ops.arange(buffer.shape[0]) == time
    return ops.where(ops.reshape(is_now, (-1, *[1] * len(values.shape))), values[None], buffer)
