"""Diagonal alignment ("guided attention"): a penalty on attention far from the diagonal."""

import keras
from keras import backend, ops

from keras_attention._internal import validation
from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.typing import Tensor


@keras.saving.register_keras_serializable("keras_attention")
def diagonal_alignment(mask: Tensor, weights: Tensor, width: float = 0.2) -> Tensor:
    """Penalizes attention far from the diagonal. It needs no known alignment.

        1 / (T S) sum_t sum_s a_ts W_ts,    W_ts = 1 - exp(-(s / S - t / T)^2 / (2 g^2))

    This loss is for tasks whose output follows the order of the source, such as speech synthesis. T
    and S are the lengths of each example, and t and s count from 0. The paper writes N for S and n
    for s; its T counts frames.

    Args:
        mask: (B, T, S), True where both step t and position s count, such as
            `query_mask[:, :, None] & memory_mask[:, None, :]`. The numbers of its rows and columns
            that are not all False are the lengths T and S. None if there is no padding.
        weights: (B, T, S), the attention weights that layers and decoders return.
        width: Width of the diagonal band, g, relative to the lengths.

    Returns:
        (B,): the mean of the penalties where `mask` is True, in at least float32.

    Raises:
        ValueError: If the shapes do not match, or `width` is not above 0.

    Example:

    >>> weights = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    >>> mask = np.ones((2, 2, 2), bool)
    >>> np.array(ka.losses.diagonal_alignment(mask, weights)).round(3).tolist()
    [0.0, 0.478]

    Reference: Tachibana, Uenoyama, Aihara 2018, "Efficiently Trainable Text-to-Speech System Based
    on Deep Convolutional Networks with Guided Attention", arXiv:1710.08969, section 4.1.
    """
    weights = ops.convert_to_tensor(weights)
    validation.rank("weights", weights.shape, "(batch, queries, memory)")
    validation.mask("mask", mask, weights.shape, "(batch, queries, memory)")
    validation.positive("width", width)
    dtype = at_least_float32(backend.standardize_dtype(weights.dtype))
    weights = ops.cast(weights, dtype)
    mask = ops.ones_like(weights, "bool") if mask is None else ops.cast(mask, "bool")
    steps = _relative_positions(ops.any(mask, axis=2), dtype)  # (B, T)
    positions = _relative_positions(ops.any(mask, axis=1), dtype)  # (B, S)
    distances = positions[:, None, :] - steps[:, :, None]  # (B, T, S)
    penalties = weights * (1.0 - ops.exp(-ops.square(distances) / (2.0 * width**2)))
    total = ops.sum(ops.where(mask, penalties, 0.0), axis=(1, 2))
    return total / ops.maximum(ops.sum(ops.cast(mask, dtype), axis=(1, 2)), 1.0)


def _relative_positions(mask: Tensor, dtype: str) -> Tensor:
    """Returns (B, L): how many positions count before each one, as a share of all that do."""
    counts = ops.cast(mask, dtype)
    length = ops.maximum(ops.sum(counts, axis=1, keepdims=True), 1.0)
    return (ops.cumsum(counts, axis=1) - counts) / length
