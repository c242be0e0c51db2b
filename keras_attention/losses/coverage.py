"""Losses on the attention summed over the steps: against repetition, and for even coverage."""

from keras import backend, ops

from keras_attention._internal import validation
from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.typing import Tensor


def coverage_loss(weights: Tensor, query_mask: Tensor = None) -> Tensor:
    """Penalizes repeated attention to the same positions.

        covloss_t = sum_i min(a^t_i, c^t_i),    c^t = sum_{t' < t} a^t'        (eq. 12, 10)

    A step costs 0 if it attends only to new positions, and at most 1 if it attends to the same
    positions again. The paper adds `1.0 * covloss_t` to the loss of each step (eq. 13).

    Args:
        weights: (B, T, S), the attention weights that layers and decoders return.
        query_mask: (B, T), True for steps that count. Steps that attend to nothing never count.

    Returns:
        (B,): the mean of covloss_t over the steps that count, in at least float32.

    Raises:
        ValueError: If `weights` or `query_mask` has another shape.

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
    weights = _masked_weights(weights, query_mask)
    num_steps = ops.sum(ops.cast(ops.any(weights > 0, axis=2), weights.dtype), axis=1)  # (B,)
    coverage = ops.pad(ops.cumsum(weights, axis=1), [[0, 0], [1, 0], [0, 0]])[:, :-1]
    step_losses = ops.sum(ops.minimum(weights, coverage), axis=2)  # (B, T)
    return ops.sum(step_losses, axis=1) / ops.maximum(num_steps, 1.0)


def doubly_stochastic(weights: Tensor, query_mask: Tensor = None) -> Tensor:
    """Penalizes positions whose attention, summed over the steps, is not 1.

        sum_i (1 - sum_t alpha_ti)^2                                    (eq. 14, without lambda)

    The softmax makes the weights of each step sum to 1 over the positions. This loss encourages the
    weights of each position to sum to 1 over the steps. The paper multiplies it by lambda and adds
    it to -log p(y | x).

    Args:
        weights: (B, T, S) or (B, T, H, W), the attention weights that layers and decoders return.
        query_mask: (B, T), True for steps that count.

    Returns:
        (B,), in at least float32. A masked position adds 1, since its attention sums to 0.

    Raises:
        ValueError: If `weights` or `query_mask` has another shape.

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
    total_attention = ops.sum(_masked_weights(weights, query_mask), axis=1)  # (B, S), (B, H, W)
    axes = tuple(range(1, len(total_attention.shape)))
    return ops.sum(ops.square(1.0 - total_attention), axis=axes)


def _masked_weights(weights: Tensor, query_mask: Tensor) -> Tensor:
    """Returns the weights in at least float32, zero at the steps that do not count."""
    dtype = backend.standardize_dtype(weights.dtype)
    weights = ops.cast(weights, at_least_float32(dtype))
    if query_mask is None:
        return weights
    axes = tuple(range(2, len(weights.shape)))
    return ops.where(ops.expand_dims(ops.cast(query_mask, "bool"), axes), weights, 0.0)
