"""The loss that an aligner teaches by: where a step should have looked."""

from keras import backend, ops

from keras_attention._internal import validation


def guided_alignment(alignment, weights, query_mask=None):
    """How far attention is from a given word alignment: their cross-entropy.

        -1 / T sum_t sum_s A_ts log a_ts

    Args:
        alignment: (B, T, S), A, from an aligner such as fast_align or by hand. Each row sums to 1,
            or is zero where the word is aligned to nothing: such a step does not count.
        weights: (B, T, S), the attention scores that layers and decoders return.
        query_mask: (B, T), the steps that count.

    Returns:
        (B,): the mean over the steps that count, in at least float32. 1e-7 is added to the weights,
        so that one of zero costs 16, and still learns.

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
    dtype = backend.result_type(backend.standardize_dtype(weights.dtype), "float32")
    alignment = ops.convert_to_tensor(alignment, dtype=dtype)
    if query_mask is not None:
        counted = ops.expand_dims(ops.cast(query_mask, "bool"), 2)
        alignment = ops.where(counted, alignment, 0.0)
        weights = ops.where(counted, weights, 1.0)
    costs = -alignment * ops.log(ops.cast(weights, dtype) + 1e-7)
    counted = ops.cast(ops.any(alignment > 0, axis=2), dtype)  # (B, T)
    return ops.sum(costs, axis=(1, 2)) / ops.maximum(ops.sum(counted, axis=1), 1.0)
