"""Scaled dot-product attention with its weights in memory: to return them, or for dropout."""

from keras import ops

from keras_attention import masks


def scaled_dot_product_attention(query, key, value, mask=None, kept=None):
    """Returns softmax(Q K^T / sqrt(K)) V, head by head.

    Args:
        query: (B, N, T, K) for N heads.
        key: (B, N, S, K).
        value: (B, N, S, V).
        mask: Broadcastable to (B, T, S). A row that allows nothing gives zeros.
        kept: (B, N, T, S), what the weights are multiplied by: dropout, drawn by the caller.

    Returns:
        The context (B, N, T, V), and the weights (B, N, T, S) before dropout.
    """
    # The query is divided, not the scores, so that float16 scores overflow later.
    query = query / query.shape[-1] ** 0.5
    scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))  # (B, N, T, S)
    weights = masks.masked_softmax(scores, None if mask is None else ops.expand_dims(mask, -3))
    return ops.matmul(weights if kept is None else weights * kept, value), weights
