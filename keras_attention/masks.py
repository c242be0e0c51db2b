"""Masks: boolean, True for positions that may be attended to, broadcastable to (B, T, S).

Only what computes a softmax turns a mask into numbers: `mask_scores` and `masked_softmax` here, and
the faster ways in `_ops`. Elsewhere masks stay boolean.
"""

import warnings
from typing import Any

from keras import backend, ops

# The score of masked positions: finite, and its exponential is 0 beside any other.
MASKED_SCORE = -1e30


def implicit_mask(tensor: Any) -> Any:
    """Returns the mask that Keras attached to `tensor`, or None if there is none.

    Example:

    >>> embedded = keras.layers.Embedding(5, 2, mask_zero=True)(np.array([[3, 0]]))
    >>> np.array(ka.masks.implicit_mask(embedded)).tolist()
    [[True, False]]
    """
    return getattr(tensor, "_keras_mask", None)


def causal_mask(query_length: Any, memory_length: Any) -> Any:
    """Returns a (1, T, S) mask that lets query t attend to the memory steps s <= t.

    Example:

    >>> np.array(ka.masks.causal_mask(2, 3))[0].astype(int).tolist()
    [[1, 0, 0], [1, 1, 0]]
    """
    queries = ops.arange(query_length, dtype="int32")
    memory = ops.arange(memory_length, dtype="int32")
    return ops.expand_dims(queries[:, None] >= memory[None, :], 0)


def local_mask(query_length: Any, memory_length: Any, window: int) -> Any:
    """Returns a (1, T, S) mask that lets query t attend to memory step s if |t - s| <= `window`.

    Example:

    >>> np.array(ka.masks.local_mask(3, 4, window=1))[0].astype(int).tolist()
    [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1]]
    """
    queries = ops.arange(query_length, dtype="int32")
    memory = ops.arange(memory_length, dtype="int32")
    return ops.expand_dims(ops.abs(queries[:, None] - memory[None, :]) <= window, 0)


def causal_window_mask(
    query_length: Any, memory_length: Any, causal: bool = False, window: int | None = None
) -> Any:
    """Returns the (1, T, S) mask of a causal order, a window or both; None for neither.

    Args:
        query_length, memory_length: T and S.
        causal: Whether query t attends only to memory steps s <= t, as with `causal_mask`.
        window: If given, |t - s| must be at most this, as with `local_mask`.

    Example:

    >>> mask = ka.masks.causal_window_mask(3, 3, causal=True, window=1)
    >>> np.array(mask)[0].astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
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
    """Returns a mask that is True where all given masks are, or None if no mask is given.

    Args:
        query_mask: (B, T). A masked query attends to nothing.
        value_mask, key_mask: (B, S).
        attention_mask: (B, T, S) or (T, S).
        causal_mask: (1, T, S), as `masks.causal_mask` or `masks.causal_window_mask` makes it.

    Returns:
        The mask, broadcastable to (B, T, S).

    Example:

    >>> query_mask, value_mask = np.array([[True, False]]), np.array([[True, True, False]])
    >>> np.array(ka.masks.combine(query_mask, value_mask))[0].astype(int).tolist()
    [[1, 1, 0], [0, 0, 0]]
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
    """Returns `scores` in at least float32, with -1e30 where `mask` is False.

    Example:

    >>> np.array(ka.masks.mask_scores(np.array([1.0, 2.0], "float32"), np.array([True, False])))
    array([ 1.e+00, -1.e+30], dtype=float32)
    """
    dtype = backend.standardize_dtype(scores.dtype)
    scores = ops.cast(scores, "float64" if dtype == "float64" else "float32")
    if dtype == "float16":  # An overflow is a large score, not an infinite one.
        scores = ops.clip(scores, MASKED_SCORE, -MASKED_SCORE)
    return scores if mask is None else ops.where(ops.cast(mask, "bool"), scores, MASKED_SCORE)


def masked_softmax(scores: Any, mask: Any = None) -> Any:
    """Returns the softmax over the last axis of `scores`, exactly 0 where `mask` is False.

    A row with nothing to attend to gets zero weights and zero gradients. With a mask, scores of
    -1e30 and below, such as -inf, count as masked too. The arithmetic runs in at least float32,
    whatever the dtype of the scores is. The weights have the dtype of the scores.

    Args:
        scores: (..., S).
        mask: Broadcastable to the scores, or None.

    Example:

    >>> mask = np.array([[True, True, False], [False, False, False]])
    >>> np.array(ka.masks.masked_softmax(np.zeros((2, 3)), mask)).tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    """
    dtype = backend.standardize_dtype(scores.dtype)
    scores, is_single = mask_scores(scores), scores.shape[-1] == 1
    if mask is None and not is_single:
        return ops.cast(ops.softmax(scores, axis=-1), dtype)
    hidden = scores <= MASKED_SCORE  # False for NaN, which is to be seen
    if mask is not None:
        hidden = ops.logical_or(hidden, ops.logical_not(ops.cast(mask, "bool")))
    scores = ops.where(hidden, MASKED_SCORE, scores)
    # Keras's softmax warns about an axis of length 1.
    weights = scores - scores + 1 if is_single else ops.softmax(scores, axis=-1)
    # In a row with nothing to attend to, all scores are the same, and so would be all weights.
    return ops.cast(ops.where(hidden, 0, weights), dtype)


def zero_masked(sequence: Any, mask: Any = None) -> Any:
    """Returns `sequence` (B, S, D) with zeros where `mask` (B, S) is False.

    Example:

    >>> zeroed = ka.masks.zero_masked(np.ones((1, 2, 3)), np.array([[True, False]]))
    >>> np.array(zeroed)[0].tolist()
    [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """
    if mask is None:
        return sequence
    axes = [1] * (len(sequence.shape) - 2)
    mask = ops.reshape(ops.cast(mask, "bool"), (*ops.shape(mask), *axes))
    return ops.where(mask, sequence, 0)


def masked_mean(values: Any, mask: Any = None) -> Any:
    """Returns the mean (B, D) of `values` (B, S, D) over the positions that `mask` (B, S) allows.

    If the mask allows no position, the mean is zero. The sum runs in at least float32.

    Example:

    >>> values = np.array([[[1.0], [3.0], [9.0]]])
    >>> np.array(ka.masks.masked_mean(values, np.array([[True, True, False]]))).tolist()
    [[2.0]]
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
