"""Dot-product attention, head by head: the one entry to it, and the choice of how to compute it."""

from keras import backend, ops

from keras_attention import masks
from keras_attention._internal.typing import Tensor
from keras_attention._ops.finite_scores import finite_scores
from keras_attention._ops.flash_attention import tiled_attention
from keras_attention._ops.holds_weights import holds_weights
from keras_attention._ops.materialized_attention import materialized_attention


def dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_mask: Tensor = None,
    value_mask: Tensor = None,
    key_mask: Tensor = None,
    attention_mask: Tensor = None,
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
    dropout_mask: Tensor = None,
    return_weights: bool = False,
) -> tuple[Tensor, Tensor]:
    """softmax(scale Q K^T) V, head by head.

    The weights (B, N, T, S) are held if they are returned or dropped, or if
    `holds_weights` says so. Otherwise memory is linear in T and S: the fused kernel of the backend
    computes the context, or `tiled_attention`.

    Args:
        query: (B, N, T, K) for N heads.
        key: (B, N, S, K).
        value: (B, N, S, V).
        query_mask: (B, T). The context of a masked query is zero.
        value_mask, key_mask: (B, S).
        attention_mask: (B, N, T, S), (B, T, S) or (T, S), or broadcastable to it.
        causal: Whether step t attends to steps up to t only.
        window: If given, step t attends to the steps s with |t - s| <= `window` only.
        scale: Factor of the scores. None: 1 / sqrt(K).
        dropout_mask: (B, N, T, S), the factor of each weight.
        return_weights: Whether to return the weights, before dropout.

    Returns:
        The context (B, N, T, V), and with `return_weights` the weights (B, N, T, S), otherwise
        None. Both are zero for a query without a key.
    """
    # The query is scaled, not the scores, so that float16 scores overflow later.
    if scale is None:
        query = query / query.shape[-1] ** 0.5
    elif scale != 1:
        query = query * scale
    attention_mask = _with_heads(attention_mask)

    def allowed() -> Tensor:
        """The mask of all pairs, broadcastable to (B, N, T, S), or None."""
        lengths = ops.shape(query)[2], ops.shape(key)[2]
        causal_mask = masks.causal_window_mask(*lengths, causal, window)
        combined = masks.combine(query_mask, value_mask, key_mask, causal_mask=causal_mask)
        return _and(None if combined is None else ops.expand_dims(combined, -3), attention_mask)

    holds = holds_weights(query, key)
    # JAX can differentiate the plain equation in all ways, a gradient of our own in one only.
    # PyTorch gets the plain equation too.
    is_plain = holds and backend.backend() != "tensorflow"
    if return_weights or dropout_mask is not None or is_plain:
        scores = ops.matmul(query, ops.swapaxes(key, -1, -2))  # (B, N, T, S)
        weights = ops.cast(masks.masked_softmax(finite_scores(scores), allowed()), value.dtype)
        dropped = weights if dropout_mask is None else weights * dropout_mask
        return ops.matmul(dropped, value), weights if return_weights else None
    if holds:
        query = _zero_masked(query, query_mask)
        return materialized_attention(query, key, value, allowed(), causal), None
    keys_mask = _and(value_mask, key_mask)
    context = _linear(query, key, value, query_mask, keys_mask, attention_mask, causal, window)
    return context, None


def _linear(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_mask: Tensor,
    value_mask: Tensor,
    attention_mask: Tensor,
    causal: bool,
    window: int | None,
) -> Tensor:
    """Returns the context with memory linear in T and S."""
    query_mask, value_mask, attention_mask = _simplify_masks(query_mask, value_mask, attention_mask)
    query = _zero_masked(query, query_mask)
    if value_mask is not None:
        value_mask = ops.broadcast_to(value_mask, (ops.shape(value_mask)[0], ops.shape(key)[2]))
    context = None
    if window is None and backend.backend() != "tensorflow":
        mask = masks.combine(value_mask=value_mask)  # (B, 1, S)
        mask = _and(_with_heads(mask), attention_mask)
        context = _fused_kernel(query, key, value, mask, causal)
    if context is None:
        context = tiled_attention(query, key, value, value_mask, attention_mask, causal, window)
    return _zero_masked(context, query_mask)


def _zero_masked(rows: Tensor, query_mask: Tensor) -> Tensor:
    """Zeroes the rows (B, N, T, K) of masked queries, so that not even NaN reaches a gradient."""
    if query_mask is None:
        return rows
    return ops.where(ops.expand_dims(ops.cast(query_mask, "bool"), (1, 3)), rows, 0)


def _fused_kernel(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, causal: bool) -> Tensor:
    """Returns the context by the fused kernel of the backend, or None if it has none for this.

    The mask is broadcastable to (B, N, T, S).
    """
    is_jax = backend.backend() == "jax"
    if query.shape[-1] != value.shape[-1] or (causal and mask is not None):
        return None
    if is_jax and (mask is not None or query.shape != key.shape):
        return None
    try:
        context = ops.dot_product_attention(
            *(ops.transpose(x, (0, 2, 1, 3)) for x in (query, key, value)),
            mask=mask,
            scale=1.0,
            is_causal=causal,
            flash_attention=True if is_jax else None,  # Otherwise JAX holds all weights.
        )
    except (ImportError, RuntimeError, TypeError, ValueError):
        if not is_jax:  # JAX's releases raise each of these if they have no kernel.
            raise
        return None
    context = ops.transpose(context, (0, 2, 1, 3))
    if mask is None:
        return context
    return ops.where(ops.any(mask, axis=-1, keepdims=True), context, 0)


def _simplify_masks(
    query_mask: Tensor, value_mask: Tensor, attention_mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Merges an `attention_mask` that is the same for all queries, or all keys, with their mask."""
    if attention_mask is None or attention_mask.shape[1] != 1:  # heads
        return query_mask, value_mask, attention_mask
    if attention_mask.shape[2] == 1:
        return query_mask, _and(value_mask, attention_mask[:, 0, 0]), None
    if attention_mask.shape[3] == 1:
        return _and(query_mask, attention_mask[:, 0, :, 0]), value_mask, None
    return query_mask, value_mask, attention_mask


def _with_heads(attention_mask: Tensor) -> Tensor:
    """Returns (B, T, S) as (B, 1, T, S), and (T, S) as (1, 1, T, S)."""
    if attention_mask is None:
        return None
    attention_mask = ops.cast(attention_mask, "bool")
    axes = {2: (0, 1), 3: (1,), 4: ()}[len(attention_mask.shape)]
    return ops.expand_dims(attention_mask, axes) if axes else attention_mask


def _and(mask: Tensor, other: Tensor) -> Tensor:
    """Returns where both masks allow attention; either may be None."""
    if mask is None or other is None:
        return mask if other is None else other
    return ops.logical_and(ops.cast(mask, "bool"), ops.cast(other, "bool"))
