"""What every search shares: its result, its state, its loop."""

import numbers
from typing import Any, NamedTuple

import keras
from keras import ops


class SearchResult(NamedTuple):
    """What a search found, best first.

    Attributes:
        tokens: (B, N, T), int32; the end id from the end on.
        lengths: (B, N), int32: how many tokens come before the end id.
        log_probs: (B, N), float32: log p of the tokens and the end id.
        scores: (B, N), float32: `log_probs` after the penalties, which rank the results.
        attention: (B, N, T, S): the weights at each step, zero after the end.
    """

    tokens: Any
    lengths: Any
    log_probs: Any
    scores: Any
    attention: Any


def shares_state(parts):
    """Marks a step whose state has parts that all tokens of a batch entry share.

    The marked step takes tokens (N,) with N = B K, and these parts with B rows: `beam` leaves them
    as they are. The step has to return them unchanged. Without this decorator `beam` repeats the
    whole state per beam. A wrapper does not inherit it: decorate it with `shares_state(wrapped)`.

    Args:
        parts: Function of a state to these parts of it, a nest of tensors; or a marked step with a
            state of the same form, to share what that one shares.
    """

    def mark(step):
        step.shared = getattr(parts, "shared", parts)
        return step

    return mark


class Carried:
    """The part of a state that a step moves, as against what it hands on untouched.

    What is handed on goes through `widen`, unless it is in the nest `shared`.
    """

    def __init__(self, state, next_state, widen, shared=()):
        before, after = keras.tree.flatten(state), keras.tree.flatten(next_state)
        if len(before) != len(after):
            raise ValueError(
                f"`step` returns a state of {len(after)} tensors; expected one like it took, of "
                f"{len(before)}."
            )
        self._structure = next_state
        shared = [id(leaf) for leaf in keras.tree.flatten(shared)]
        # A tensor that stands in two places may have moved from one to the other.
        settled = [
            id(leaf) in shared or sum(leaf is other for other in before) == 1 for leaf in before
        ]
        self._moves = [
            new is not old or not stays
            for old, new, stays in zip(before, after, settled, strict=True)
        ]
        self._still = [
            None if moves else leaf if id(leaf) in shared else widen(leaf)
            for leaf, moves in zip(after, self._moves, strict=True)
        ]

    def moving(self, state):
        leaves = keras.tree.flatten(state)
        return [leaf for leaf, moves in zip(leaves, self._moves, strict=True) if moves]

    def whole(self, moving):
        moving = iter(moving)
        leaves = [
            next(moving) if moves else still
            for still, moves in zip(self._still, self._moves, strict=True)
        ]
        return keras.tree.pack_sequence_as(self._structure, leaves)


def repeat(advance, found, steps, done):
    """Advances from step 1 until `done(found)`, or until `steps` are taken."""
    _, found = ops.while_loop(
        lambda time, found: ops.logical_not(done(found)),
        advance,
        (ops.convert_to_tensor(1, dtype="int32"), found),
        maximum_iterations=steps - 1,
    )
    return found


def log_softmax(logits):
    return ops.log_softmax(ops.cast(logits, "float32"), axis=-1)


def batch_size(state):
    return ops.shape(keras.tree.flatten(state)[0])[0]


def at_least_one(argument, value):
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"`{argument}` is {value!r}; expected an integer of at least 1.")
    return int(value)


def check_ids(start_id, end_id, vocabulary):
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


def first_tokens(start_id, batch):
    return ops.broadcast_to(ops.cast(start_id, "int32"), (batch,))


def full(shape, value):
    return ops.full(shape, value, dtype="int32")


def write_step(rows, time, values):
    """Writes `values` (...,) at step `time` of `rows` (..., T)."""
    return ops.where(ops.arange(rows.shape[-1]) == time, values[..., None], rows)


def write_entry(buffer, time, values):
    """Writes `values` as entry `time` of `buffer`, whose first axis is time."""
    now = ops.arange(buffer.shape[0]) == time
    return ops.where(ops.reshape(now, (-1, *[1] * len(values.shape))), values[None], buffer)
