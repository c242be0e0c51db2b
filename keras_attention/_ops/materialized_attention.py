"""Dot-product attention that holds its weights (B, N, T, S), with the gradient written by hand.

    P = softmax(Q K^T)                O = P V
    dV = P^T dO                       D = rowsum(dO * O)
    dS = P * (dO V^T - D)             dQ = dS K         dK = dS^T Q

The gradient of a softmax subtracts rowsum(P * dP), which is D: a sum over V numbers of a query, not
over its S weights (Dao 2022, "FlashAttention", arXiv:2205.14135, appendix B.2). A weight that is
masked is 0, so that dS needs no mask. Where operations run one by one, they thus make 6 arrays of
the size of the weights; the gradient that TensorFlow derives from a masked softmax makes 12.
"""

from collections.abc import Callable

from keras import backend, ops

from keras_attention._internal.precision import at_least_float32, finite_scores
from keras_attention._internal.typing import Tensor
from keras_attention._ops.custom_gradient import custom_gradient
from keras_attention.masks import MASKED_SCORE


def materialized_attention(
    query: Tensor, key: Tensor, value: Tensor, allowed: Tensor = None
) -> Tensor:
    """Returns softmax(Q K^T) V (B, N, T, V), and zero for a query without a key.

    Args:
        query, key, value: (B, N, T, K), (B, N, S, K) and (B, N, S, V).
        allowed: A boolean mask that is broadcastable to (B, N, T, S), or None.
    """
    dtype = backend.standardize_dtype(query.dtype)
    float_type = at_least_float32(dtype)

    def product(x: Tensor, y: Tensor) -> Tensor:
        return ops.matmul(ops.cast(x, dtype), ops.cast(y, dtype))

    # Masks are arguments, which JAX traces: it cannot take the gradient of what encloses tracers.
    @custom_gradient
    def attention(
        query: Tensor, key: Tensor, value: Tensor, *allowed: Tensor
    ) -> tuple[Tensor, Callable]:
        scores = finite_scores(product(query, ops.swapaxes(key, -1, -2)))
        if allowed:
            scores = ops.where(allowed[0], scores, MASKED_SCORE)
        weights = ops.softmax(scores, axis=-1)
        has_key = [ops.any(mask, axis=-1, keepdims=True) for mask in allowed]  # (B, N, T, 1)

        def visible(rows: Tensor) -> Tensor:
            """Without a key, all weights are the same and not zero, but these rows are zero."""
            return ops.where(has_key[0], rows, 0) if has_key else rows

        context = visible(product(weights, value))

        def gradients(d_output: Tensor) -> tuple[Tensor, ...]:
            d_output = visible(d_output)
            row_dot = ops.cast(d_output, float_type) * ops.cast(context, float_type)
            row_dot = ops.sum(row_dot, axis=-1, keepdims=True)  # D
            d_weights = ops.cast(product(d_output, ops.swapaxes(value, -1, -2)), float_type)
            d_scores = weights * (d_weights - row_dot)
            d_key = product(ops.swapaxes(d_scores, -1, -2), query)
            d_value = product(ops.swapaxes(weights, -1, -2), d_output)
            return product(d_scores, key), d_key, d_value, *(None for _ in allowed)

        return context, gradients

    return attention(query, key, value, *([] if allowed is None else [allowed]))
