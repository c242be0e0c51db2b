"""Losses on what the steps together look at: not twice at the same, and everywhere."""

from keras import backend, ops

from keras_attention._internal import validation


def coverage_loss(weights, query_mask=None):
    """How often attention looks where it has looked before.

        covloss_t = sum_i min(a^t_i, c^t_i),    c^t = sum_{t' < t} a^t'        (eq. 12, 10)

    A step that looks at new positions only costs 0, one that repeats itself at most 1. The paper
    adds `1.0 * covloss_t` to the loss of each step (eq. 13).

    Args:
        weights: (B, T, S), the attention scores that layers and decoders return.
        query_mask: (B, T), the steps that count. Steps that attend to nothing never do.

    Returns:
        (B,): the mean of covloss_t over the steps that count, in at least float32.

    Example:

    >>> weights = np.array([[[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]])
    >>> np.array(ka.losses.coverage_loss(weights)).round(3).tolist()
    [0.333]

    Reference: See, Liu, Manning 2017, "Get To The Point: Summarization with Pointer-Generator
    Networks", arXiv:1704.04368, section 2.3.
    """
    weights = ops.convert_to_tensor(weights)
    validation.rank("weights", weights.shape, "(batch, queries, memory)")
    validation.mask("query_mask", query_mask, weights.shape[:2], "(batch, queries)")
    weights = _counting(weights, query_mask)
    counted = ops.cast(ops.any(weights > 0, axis=2), weights.dtype)  # (B, T)
    covered = ops.pad(ops.cumsum(weights, axis=1), [[0, 0], [1, 0], [0, 0]])[:, :-1]
    repeated = ops.sum(ops.minimum(weights, covered), axis=2)  # (B, T)
    return ops.sum(repeated, axis=1) / ops.maximum(ops.sum(counted, axis=1), 1.0)


def doubly_stochastic(weights, query_mask=None):
    """How far the steps are from having looked at every place once, all together.

        sum_i (1 - sum_t alpha_ti)^2                                    (eq. 14, without lambda)

    The softmax makes the weights of a step sum to 1; this asks the same of those of a place. The
    paper adds it to -log p(y | x), times lambda.

    Args:
        weights: (B, T, S) or (B, T, H, W), the attention scores that layers and decoders return.
        query_mask: (B, T), the steps that count.

    Returns:
        (B,), in at least float32. A place that may not be looked at adds 1, whatever the weights.

    Example:

    >>> weights = np.array([[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]])
    >>> np.array(ka.losses.doubly_stochastic(weights)).tolist()
    [1.5]

    Reference: Xu et al. 2015, "Show, Attend and Tell: Neural Image Caption Generation with Visual
    Attention", arXiv:1502.03044, section 4.2.1.
    """
    weights = ops.convert_to_tensor(weights)
    if len(weights.shape) not in (3, 4):
        raise ValueError(
            f"`weights` has shape {tuple(weights.shape)}; expected (batch, queries, memory) or "
            "(batch, queries, height, width)."
        )
    validation.mask("query_mask", query_mask, weights.shape[:2], "(batch, queries)")
    looked = ops.sum(_counting(weights, query_mask), axis=1)  # (B, S) or (B, H, W)
    return ops.sum(ops.square(1.0 - looked), axis=tuple(range(1, len(looked.shape))))


def _counting(weights, query_mask):
    """The weights in at least float32, zero at the steps that do not count."""
    dtype = backend.standardize_dtype(weights.dtype)
    weights = ops.cast(weights, backend.result_type(dtype, "float32"))
    if query_mask is None:
        return weights
    axes = tuple(range(2, len(weights.shape)))
    return ops.where(ops.expand_dims(ops.cast(query_mask, "bool"), axes), weights, 0.0)
