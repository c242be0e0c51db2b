"""Guided alignment: the cross-entropy between attention and a given word alignment."""

import keras
from keras import backend, ops

from keras_attention._internal import validation
from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.typing import Tensor


@keras.saving.register_keras_serializable("keras_attention")
def guided_alignment(alignment: Tensor, weights: Tensor, query_mask: Tensor = None) -> Tensor:
    """The cross-entropy between a given word alignment and the attention weights.

        -1 / T sum_t sum_s A_ts log a_ts

    Args:
        alignment: (B, T, S), A, from an aligner such as fast_align or made by hand. Each row sums
            to 1, or is zero if the word is aligned to nothing. Such a step does not count.
        weights: (B, T, S), the attention weights that layers and decoders return.
        query_mask: (B, T), True for steps that count.

    Returns:
        (B,): the mean over the steps that count, in at least float32. 1e-7 is added to the weights
        before the logarithm, so that a weight of zero costs 16 nats instead of infinity and still
        has a gradient.

    Raises:
        ValueError: If the shapes do not match.

    Example:

    >>> alignment = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    >>> weights = np.array([[[1.0, 0.0], [0.5, 0.5]]])
    >>> np.array(ka.losses.guided_alignment(alignment, weights)).round(3).tolist()
    [0.347]

    Reference: Chen, Matusov, Khadivi, Peter 2016, "Guided Alignment Training for Topic-Aware Neural
    Machine Translation", arXiv:1607.01628, section 3.
    """
    weights = ops.convert_to_tensor(weights)
    validation.rank("weights", weights.shape, "(batch, queries, memory)")
    validation.mask("alignment", alignment, weights.shape, "(batch, queries, memory)")
    validation.mask("query_mask", query_mask, weights.shape[:2], "(batch, queries)")
    dtype = at_least_float32(backend.standardize_dtype(weights.dtype))
    alignment = ops.convert_to_tensor(alignment, dtype=dtype)
    if query_mask is not None:
        mask = ops.expand_dims(ops.cast(query_mask, "bool"), 2)
        alignment = ops.where(mask, alignment, 0.0)
        weights = ops.where(mask, weights, 1.0)
    losses = -alignment * ops.log(ops.cast(weights, dtype) + 1e-7)
    num_steps = ops.sum(ops.cast(ops.any(alignment > 0, axis=2), dtype), axis=1)  # (B,)
    return ops.sum(losses, axis=(1, 2)) / ops.maximum(num_steps, 1.0)
