"""Dot-product attention whose memory is linear in the lengths: no weights (B, N, T, S) are held.

The queries and the keys come in blocks, which are small enough to stay near the processor. For the
i-th block of queries and the j-th of keys (Dao 2023, algorithms 1 and 2):

    S_ij = Q_i K_j^T                      m_i' = max(m_i, rowmax(S_ij))
    l_i' = l_i exp(m_i - m_i') + rowsum(exp(S_ij - m_i'))
    O_i' = O_i exp(m_i - m_i') + exp(S_ij - m_i') V_j

and in the end O_i / l_i is the context. Beside the blocks of Q, K and V only it and the logarithm
L_i = m_i + log l_i are kept for the gradient, which computes the weights again:

    P_ij = exp(S_ij - L_i)                D_i = rowsum(dO_i * O_i)
    dV_j += P_ij^T dO_i                   dS_ij = P_ij * (dO_i V_j^T - D_i)
    dQ_i += dS_ij K_j                     dK_j += dS_ij^T Q_i

Blocks that lie in the future, or beyond a window, are never visited.

References: Dao 2023, "FlashAttention-2", arXiv:2307.08691, for the division at the end and the
one number L_i a query. The idea is that of Dao, Fu, Ermon, Rudra, Re 2022, "FlashAttention",
arXiv:2205.14135, and of Rabe and Staats 2021, "Self-attention Does Not Need O(n^2) Memory",
arXiv:2112.05682.
"""

import functools

from keras import backend, ops

from keras_attention import masks
from keras_attention._ops.custom_gradient import custom_gradient
from keras_attention._ops.tiling import (
    block_at,
    block_mask_of,
    blocks_of,
    joined,
    put_block,
    reach,
    sides_of,
    split,
)
from keras_attention._ops.while_loop import sequential_fori_loop
from keras_attention.masks import MASKED_SCORE

# Up to so many pairs of a query and a key, weights cost less than loops over blocks.
FEW_PAIRS = 256 * 256


def attend(
    query,
    key,
    value,
    query_mask=None,
    value_mask=None,
    key_mask=None,
    attention_mask=None,
    causal=False,
    window=None,
):
    """softmax(Q K^T) V, head by head, by whatever computes it best: the scores are not divided.

    Args:
        query: (B, N, T, K) for N heads.
        key: (B, N, S, K).
        value: (B, N, S, V).
        query_mask: (B, T). A masked query gets zeros.
        value_mask, key_mask: (B, S).
        attention_mask: (B, T, S) or (T, S), or what broadcasts to it.
        causal: Whether step t sees steps up to t only.
        window: With it, step t sees the steps s with |t - s| <= `window` only.

    Returns:
        The context (B, N, T, V). A query that sees nothing gets zeros.
    """
    if key_mask is not None:
        value_mask = _both(value_mask, key_mask)
    query_mask, value_mask, attention_mask = _factored(query_mask, value_mask, attention_mask)
    batch, _, queries, _ = ops.shape(query)
    memory = ops.shape(key)[2]
    if value_mask is not None:
        value_mask = ops.broadcast_to(value_mask, (ops.shape(value_mask)[0], memory))

    def plain():
        order = masks.causal_window_mask(queries, memory, causal, window)
        allowed = masks.combine(query_mask, value_mask, None, attention_mask, order)
        allowed = None if allowed is None else ops.expand_dims(allowed, 1)
        scores = ops.matmul(query, ops.swapaxes(key, -1, -2))
        return ops.matmul(masks.masked_softmax(scores, allowed), value)

    def long(query):
        asks = None if query_mask is None else ops.expand_dims(ops.cast(query_mask, "bool"), (1, 3))
        if asks is not None:  # Nothing of a masked query reaches the gradients.
            query = ops.where(asks, query, 0)
        filled = _filled(query), _filled(key), _filled(value)
        given = _filled(value_mask), _filled(attention_mask)
        context = _kernel(*filled, *given, causal) if window is None else None
        if context is None:
            context = in_blocks(*filled, *given, causal, window)
        context = context[:batch]
        return context if asks is None else ops.where(asks, context, 0)

    pairs = queries * memory
    if isinstance(pairs, int) and (pairs <= FEW_PAIRS or (isinstance(batch, int) and batch == 0)):
        return plain()
    if isinstance(pairs, int):
        return long(query)
    # Lengths that only a run knows: any on TensorFlow, those of an export elsewhere.
    return long(query) if backend.backend() == "tensorflow" else plain()


def in_blocks(
    query,
    key,
    value,
    value_mask=None,
    attention_mask=None,
    causal=False,
    window=None,
    sides=None,
):
    """`attend` for long sequences, in blocks.

    Args:
        sides: The most queries and the most keys of a block; by default `blocks.sides_of`.
    """
    (batch, heads, queries, _), memory = ops.shape(query), ops.shape(key)[2]
    rows, columns = map(blocks_of, (queries, memory), sides or sides_of(batch * heads))
    dtype = backend.standardize_dtype(query.dtype)
    float_type = backend.result_type(dtype, "float32")
    block_mask = block_mask_of(
        rows, columns, value_mask, attention_mask, causal, window, float_type
    )
    back, ahead = window, 0 if causal else window

    def product(x, y):
        return ops.cast(ops.matmul(ops.cast(x, dtype), ops.cast(y, dtype)), float_type)

    def scores_of(i, j, query, key_t):
        scores = product(query, key_t)
        if dtype == "float16":  # What overflowed is large, not infinite, and can be hidden.
            scores = ops.clip(scores, MASKED_SCORE / 10, -MASKED_SCORE / 10)
        return scores if block_mask is None else scores + block_mask(i, j)

    def forward(query, key_t, value):
        def row_of_blocks(i, results):
            def step(j, state):
                largest, total, context = state
                scores = scores_of(i, j, block_at(query, i), block_at(key_t, j))
                new = ops.maximum(largest, ops.max(scores, axis=-1, keepdims=True))
                weights, shrunk = ops.exp(scores - new), ops.exp(largest - new)
                total = total * shrunk + ops.sum(weights, axis=-1, keepdims=True)
                # Not yet divided by their total, the weights' sums of values overflow float16.
                read = ops.matmul(weights, ops.cast(block_at(value, j), float_type))
                return new, total, context * shrunk + read

            zero = ops.zeros_like(block_at(results[1], 0))
            state = (zero + MASKED_SCORE, zero, ops.zeros_like(block_at(results[0], 0)))
            first, last = reach(i, rows, columns, back, ahead)
            largest, total, context = sequential_fori_loop(first, last, step, state)
            # With nothing but hidden scores, `context` is a mean of what is hidden, and `largest`
            # would make weights of it once more.
            sees = largest > MASKED_SCORE / 2
            context = ops.where(sees, context / ops.where(sees, total, 1), 0)
            logarithm = ops.where(sees, largest + ops.log(ops.where(sees, total, 1)), -MASKED_SCORE)
            return put_block(results[0], i, context), put_block(results[1], i, logarithm)

        narrow = ops.zeros_like(query[..., :1], dtype=float_type)  # (n, B, N, T / n, 1)
        results = narrow + ops.zeros_like(block_at(value, 0)[:, :, :1], dtype=float_type), narrow
        context, logarithm = sequential_fori_loop(0, rows.number, row_of_blocks, results)
        return ops.cast(context, dtype), logarithm

    def backward(query, key_t, value, context, logarithm, upstream):
        inner = ops.cast(context, float_type) * ops.cast(upstream, float_type)
        inner = ops.sum(inner, axis=-1, keepdims=True)

        def column_of_blocks(j, gradients):
            key_block_t, value_block = block_at(key_t, j), block_at(value, j)
            key_block, value_block_t = (ops.swapaxes(x, -1, -2) for x in (key_block_t, value_block))

            def step(i, state):
                # A product whose first factor is transposed is slow if that is the large one.
                of_query, of_key, of_value = state
                row, above = block_at(query, i), block_at(upstream, i)
                weights = ops.exp(scores_of(i, j, row, key_block_t) - block_at(logarithm, i))
                of_weights = product(above, value_block_t)
                of_scores = weights * (of_weights - block_at(inner, i))
                of_value = of_value + product(ops.swapaxes(above, -1, -2), weights)
                of_key = of_key + product(ops.swapaxes(row, -1, -2), of_scores)
                of_query = put_block(
                    of_query, i, block_at(of_query, i) + product(of_scores, key_block)
                )
                return of_query, of_key, of_value

            of_query, of_key, of_value = gradients
            first, last = reach(j, columns, rows, ahead, back)
            zeros = (ops.zeros_like(x, dtype=float_type) for x in (key_block_t, value_block_t))
            of_query, of_key_block_t, of_value_block_t = sequential_fori_loop(
                first, last, step, (of_query, *zeros)
            )
            of_value_block = ops.swapaxes(of_value_block_t, -1, -2)
            return (
                of_query,
                put_block(of_key, j, of_key_block_t),
                put_block(of_value, j, of_value_block),
            )

        gradients = tuple(ops.zeros_like(x, dtype=float_type) for x in (query, key_t, value))
        gradients = sequential_fori_loop(0, columns.number, column_of_blocks, gradients)
        return tuple(ops.cast(x, dtype) for x in gradients)

    @custom_gradient
    def attention(query, key_t, value):
        context, logarithm = forward(query, key_t, value)
        return context, functools.partial(backward, query, key_t, value, context, logarithm)

    # Split here, since the gradient keeps what it is given: the blocks, not the sequences too.
    # The keys are transposed once here, and not at every step.
    query, key, value = split(query, rows), split(key, columns), split(value, columns)
    return joined(attention(query, ops.swapaxes(key, -1, -2), value), queries)


def _kernel(query, key, value, value_mask, attention_mask, causal):
    """The context by the backend's own fused kernel, or None where there is none that fits."""
    name = backend.backend()
    mask = masks.combine(value_mask=value_mask, attention_mask=attention_mask)  # (B, T or 1, S)
    if name == "tensorflow" or query.shape[-1] != value.shape[-1] or (causal and mask is not None):
        return None
    if name == "jax" and (mask is not None or query.shape != key.shape):
        return None
    try:
        context = ops.dot_product_attention(
            *(ops.transpose(x, (0, 2, 1, 3)) for x in (query, key, value)),
            mask=None if mask is None else ops.expand_dims(mask, 1),
            scale=1.0,
            is_causal=causal,
            # What JAX does without its kernel holds all weights.
            flash_attention=True if name == "jax" else None,
        )
    except (ImportError, RuntimeError, TypeError, ValueError):
        if name != "jax":  # whose releases say in these ways that they have no kernel for it
            raise
        return None
    context = ops.transpose(context, (0, 2, 1, 3))
    if mask is None:
        return context
    return ops.where(ops.expand_dims(ops.any(mask, axis=-1), (1, 3)), context, 0)


def _filled(x):
    """Gives an empty batch an entry, to be cut off again: no block can be put into nothing."""
    size = None if x is None else ops.shape(x)[0]
    if size is None or isinstance(size, int):
        return x
    return ops.pad(x, [[0, ops.cast(size == 0, "int32")], *[[0, 0]] * (len(x.shape) - 1)])


def _factored(query_mask, value_mask, attention_mask):
    """Moves an `attention_mask` that is the same for all queries, or all keys, to their masks."""
    if attention_mask is None:
        return query_mask, value_mask, None
    if len(attention_mask.shape) == 2:
        attention_mask = ops.expand_dims(attention_mask, 0)
    if attention_mask.shape[1] == 1:
        return query_mask, _both(value_mask, attention_mask[:, 0]), None
    if attention_mask.shape[2] == 1:
        return _both(query_mask, attention_mask[:, :, 0]), value_mask, None
    return query_mask, value_mask, attention_mask


def _both(mask, other):
    other = ops.cast(other, "bool")
    return other if mask is None else ops.logical_and(ops.cast(mask, "bool"), other)
