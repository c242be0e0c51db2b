"""Masks: boolean, True for positions that may be attended, broadcastable to (B, T, S).

`mask_scores` and `masked_softmax` are where a mask becomes a number: elsewhere masks stay boolean.
"""

import warnings
from typing import Any

from keras import backend, ops

# The score of masked positions: finite, and its exponential is 0 beside any other.
MASKED_SCORE = -1e30


def implicit_mask(tensor: Any) -> Any:
    """Returns the mask that Keras attached to `tensor`, or None."""
    return getattr(tensor, "_keras_mask", None)


def causal_mask(query_length: Any, memory_length: Any) -> Any:
    """Returns a (1, T, S) mask with which query `t` attends to memory `s <= t`."""
    queries = ops.arange(query_length, dtype="int32")
    memory = ops.arange(memory_length, dtype="int32")
    return ops.expand_dims(queries[:, None] >= memory[None, :], 0)


def local_mask(query_length: Any, memory_length: Any, window: int) -> Any:
    """Returns a (1, T, S) mask with which query `t` attends to `s` where |t - s| <= `window`."""
    queries = ops.arange(query_length, dtype="int32")
    memory = ops.arange(memory_length, dtype="int32")
    return ops.expand_dims(ops.abs(queries[:, None] - memory[None, :]) <= window, 0)


def causal_window_mask(
    query_length: Any, memory_length: Any, causal: bool = False, window: int | None = None
) -> Any:
    """Returns the (1, T, S) mask of a causal order, a window, or both; None for neither."""
    lengths = query_length, memory_length
    causal_order = causal_mask(*lengths) if causal else None
    if window is None:
        return causal_order
    local = local_mask(*lengths, window)
    return local if causal_order is None else ops.logical_and(causal_order, local)


def combine(
    query_mask: Any = None,
    value_mask: Any = None,
    key_mask: Any = None,
    attention_mask: Any = None,
    causal_mask: Any = None,
) -> Any:
    """Returns where all the given masks allow attention, or None if none is given.

    Args:
        query_mask: (B, T). A masked query attends to nothing.
        value_mask, key_mask: (B, S).
        attention_mask: (B, T, S) or (T, S).
        causal_mask: (1, T, S), as `masks.causal_mask` or `masks.causal_window_mask` makes it.
    """
    combined = None
    for mask, axis in (
        (query_mask, 2),  # (B, T, 1)
        (value_mask, 1),  # (B, 1, S)
        (key_mask, 1),
        (attention_mask, None),
        (causal_mask, None),
    ):
        if mask is not None:
            mask = ops.cast(mask, "bool")
            mask = mask if axis is None else ops.expand_dims(mask, axis)
            combined = mask if combined is None else ops.logical_and(combined, mask)
    return combined


def mask_scores(scores: Any, mask: Any = None) -> Any:
    """Returns `scores` in at least float32, and -1e30 where `mask` is False."""
    dtype = backend.standardize_dtype(scores.dtype)
    scores = ops.cast(scores, "float64" if dtype == "float64" else "float32")
    if dtype == "float16":  # An overflow is a large score, not an infinite one.
        scores = ops.clip(scores, MASKED_SCORE, -MASKED_SCORE)
    return scores if mask is None else ops.where(ops.cast(mask, "bool"), scores, MASKED_SCORE)


def masked_softmax(scores: Any, mask: Any = None) -> Any:
    """Softmax over the last axis of `scores`, with weight exactly 0 where `mask` is False.

    A row with nothing to attend gets zero weights, and zero gradients. The arithmetic runs in at
    least float32, whatever the dtype of the scores; the weights come back in that dtype.
    """
    dtype = backend.standardize_dtype(scores.dtype)
    scores = mask_scores(scores, mask)
    if mask is None and scores.shape[-1] == 1:  # Keras warns about a single position.
        mask = ops.ones_like(scores, dtype="bool")
    if mask is None:
        return ops.cast(ops.softmax(scores, axis=-1), dtype)
    mask = ops.cast(mask, "bool")
    # The finite stand-in keeps the maximum of an empty row finite, and `where` around both `exp`
    # and the sum keeps NaN out of the gradients, which multiply by zero what is masked.
    largest = ops.max(scores, axis=-1, keepdims=True, initial=MASKED_SCORE)
    scores = scores - ops.stop_gradient(largest)
    exponentials = ops.exp(scores)
    exponentials = ops.where(mask, exponentials, ops.zeros_like(exponentials))
    total = ops.sum(exponentials, axis=-1, keepdims=True)
    return ops.cast(exponentials / ops.where(total > 0, total, ops.ones_like(total)), dtype)


def zero_masked(sequence: Any, mask: Any = None) -> Any:
    """Returns `sequence` (B, S, D) with zeros where `mask` (B, S) is False."""
    if mask is None:
        return sequence
    axes = [1] * (len(sequence.shape) - 2)
    mask = ops.reshape(ops.cast(mask, "bool"), (*ops.shape(mask), *axes))
    return ops.where(mask, sequence, 0)


def masked_mean(values: Any, mask: Any = None) -> Any:
    """Mean of `values` (B, S, D) over the S positions that `mask` (B, S) allows: (B, D).

    The mean of nothing is zero. The sum runs in at least float32.
    """
    if mask is None:
        return ops.mean(values, axis=1)
    dtype = backend.standardize_dtype(values.dtype)
    values = ops.cast(values, "float64" if dtype == "float64" else "float32")
    mask = ops.expand_dims(ops.cast(mask, values.dtype), 2)  # (B, S, 1)
    mean = ops.sum(values * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1)
    return ops.cast(mean, dtype)


_OLD_NAMES = {
    "HIDDEN": MASKED_SCORE,
    "hidden": mask_scores,
    "zeroed": zero_masked,
    "order_mask": causal_window_mask,
}


def __getattr__(name: str) -> Any:
    if name not in _OLD_NAMES:
        raise AttributeError(f"module 'keras_attention.masks' has no attribute {name!r}")
    renamed = _OLD_NAMES[name]
    new_name = getattr(renamed, "__name__", "MASKED_SCORE")
    warnings.warn(f"`masks.{name}` is now `masks.{new_name}`", DeprecationWarning, stacklevel=2)
    return renamed
