"""Dot-product attention that holds its weights (B, N, T, S), with the gradient written by hand.

    P = softmax(Q K^T)                O = P V
    dV = P^T dO                       D = rowsum(dO * O)
    dS = P * (dO V^T - D)             dQ = dS K         dK = dS^T Q

The gradient of a softmax subtracts rowsum(P * dP), which is D: a sum over V numbers of a query, not
over its S weights (Dao 2022, "FlashAttention", arXiv:2205.14135, appendix B.2). Masked weights are
0, and dO is set to 0 for queries without a key, so dS needs no mask. Without XLA, context and
gradient make 6 arrays of the size of the weights; those of TensorFlow's masked softmax make 12.

If no query sees its future, the queries come in up to four blocks, each with the keys up to its
end. Four blocks leave out three of eight weights.

For TensorFlow only: the mask is no argument of the function that has the gradient, as JAX needs.
"""

import functools
from collections.abc import Callable

from keras import backend, ops

from keras_attention import masks
from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.typing import Tensor
from keras_attention._ops.custom_gradient import custom_gradient
from keras_attention._ops.finite_scores import finite_scores

MAX_BLOCKS, MIN_ROWS = 4, 64  # of the queries


def materialized_attention(
    query: Tensor, key: Tensor, value: Tensor, allowed: Tensor = None, causal: bool = False
) -> Tensor:
    """Returns softmax(Q K^T) V (B, N, T, V), and zero for a query without a key.

    Args:
        query, key, value: (B, N, T, K), (B, N, S, K) and (B, N, S, V).
        allowed: A boolean mask that is broadcastable to (B, N, T, S), or None.
        causal: Whether `allowed` (1 or B, 1 or N, T, S) hides the future.
    """
    dtype = backend.standardize_dtype(query.dtype)
    float_type = at_least_float32(dtype)
    length = query.shape[2]
    is_square = length is not None and length == key.shape[2]
    blocks = _blocks(length) if causal and is_square else [slice(None)]
    has_key = None if allowed is None else ops.any(allowed, axis=-1, keepdims=True)  # (B, N, T, 1)

    def product(x: Tensor, y: Tensor) -> Tensor:
        return ops.matmul(ops.cast(x, dtype), ops.cast(y, dtype))

    def weights_of(query: Tensor, key: Tensor, rows: slice) -> Tensor:
        scores = product(query[:, :, rows], ops.swapaxes(key[:, :, : rows.stop], -1, -2))
        scores = finite_scores(scores)
        if allowed is not None:
            scores = ops.where(allowed[:, :, rows, : rows.stop], scores, masks.MASKED_SCORE)
        return masks.masked_softmax(scores)  # masked already, which makes fewer arrays

    def zero_without_key(rows: Tensor) -> Tensor:
        """Zeroes the rows of queries without a key, whose weights are the same for all keys."""
        return rows if has_key is None else ops.where(has_key, rows, 0)

    @custom_gradient
    def attention(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Callable]:
        weights = [weights_of(query, key, rows) for rows in blocks]
        pairs = zip(weights, blocks, strict=True)
        context = _join([product(p, value[:, :, : rows.stop]) for p, rows in pairs])
        context = zero_without_key(context)

        def gradients(d_output: Tensor) -> tuple[Tensor, ...]:
            d_output = zero_without_key(d_output)
            row_dot = ops.cast(d_output, float_type) * ops.cast(context, float_type)
            row_dot = ops.sum(row_dot, axis=-1, keepdims=True)  # D
            d_query, d_key, d_value = [], [], []
            for p, rows in zip(weights, blocks, strict=True):
                d_rows, keys = d_output[:, :, rows], slice(rows.stop)
                d_weights = product(d_rows, ops.swapaxes(value[:, :, keys], -1, -2))
                # An overflow at a masked key must stay finite: 0 times infinity is NaN.
                d_scores = p * (finite_scores(d_weights) - row_dot[:, :, rows])
                d_query.append(product(d_scores, key[:, :, keys]))
                d_key.append(product(ops.swapaxes(d_scores, -1, -2), query[:, :, rows]))
                d_value.append(product(ops.swapaxes(p, -1, -2), d_rows))
            of_keys = (_sum_of_blocks(parts, blocks) for parts in (d_key, d_value))
            return _join(d_query), *of_keys

        return context, gradients

    return attention(query, key, value)


def _blocks(length: int) -> list[slice]:
    """Returns the rows of each block of queries, which sees the keys up to its end."""
    count = max(1, min(MAX_BLOCKS, length // MIN_ROWS))
    return [slice(length * i // count, length * (i + 1) // count) for i in range(count)]


def _sum_of_blocks(parts: list[Tensor], blocks: list[slice]) -> Tensor:
    """Returns the gradient of all keys: each gets a part from every block that sees it."""
    return _join(
        [
            functools.reduce(ops.add, [part[:, :, keys] for part in parts[i:]])
            for i, keys in enumerate(blocks)
        ]
    )


def _join(blocks: list[Tensor]) -> Tensor:
    return ops.concatenate(blocks, axis=2) if len(blocks) > 1 else blocks[0]
