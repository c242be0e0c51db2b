"""Dot-product attention in tiles, with memory linear in T and S: no weights (B, N, T, S) are held.

Queries and keys come in tiles. For tile i of the queries and tile j of the keys (Dao 2023,
algorithms 1 and 2):

    S_ij = Q_i K_j^T                      m_i' = max(m_i, rowmax(S_ij))
    l_i' = l_i exp(m_i - m_i') + rowsum(exp(S_ij - m_i'))
    O_i' = O_i exp(m_i - m_i') + exp(S_ij - m_i') V_j

After the last tile O_i / l_i is the context. The gradient needs it, L_i = m_i + log l_i, and the
tiles of Q, K and V, and computes the weights again:

    P_ij = exp(S_ij - L_i)                D_i = rowsum(dO_i * O_i)
    dV_j += P_ij^T dO_i                   dS_ij = P_ij * (dO_i V_j^T - D_i)
    dQ_i += dS_ij K_j                     dK_j += dS_ij^T Q_i

Tiles that lie in the future or beyond a window are skipped.

References: Dao 2023, "FlashAttention-2", arXiv:2307.08691, for the division at the end and the
single number L_i of a query. The idea is that of Dao, Fu, Ermon, Rudra, Re 2022, "FlashAttention",
arXiv:2205.14135, and of Rabe and Staats 2021, "Self-attention Does Not Need O(n^2) Memory",
arXiv:2112.05682.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from keras import backend, ops

from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.typing import Tensor
from keras_attention._ops.custom_gradient import custom_gradient
from keras_attention._ops.finite_scores import finite_scores
from keras_attention._ops.tiling import (
    Tiles,
    get_tile,
    set_tile,
    tile,
    tile_bias,
    tile_masks,
    tile_sides,
    tiles_of,
    untile,
    visible_tiles,
)
from keras_attention._ops.while_loop import sequential_fori_loop
from keras_attention.masks import MASKED_SCORE

Tensors: TypeAlias = tuple[Tensor, ...]


def tiled_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    value_mask: Tensor = None,
    attention_mask: Tensor = None,
    causal: bool = False,
    window: int | None = None,
    sides: tuple[int, int] | None = None,
) -> Tensor:
    """Returns softmax(Q K^T) V (B, N, T, V), in tiles.

    Args:
        query, key, value: (B, N, T, K), (B, N, S, K) and (B, N, S, V).
        value_mask: (B, S) or (1, S).
        attention_mask: (B, N, T, S), in which B and N may be 1.
        causal, window: See `dot_product_attention`.
        sides: The most queries and the most keys of a tile; by default `tile_sides`.
    """
    batch = ops.shape(query)[0]
    query, key, value, value_mask, attention_mask = map(
        _pad_empty_batch, (query, key, value, value_mask, attention_mask)
    )
    (padded_batch, heads, length, _), memory_length = ops.shape(query), ops.shape(key)[2]
    rows, columns = map(
        tiles_of, (length, memory_length), sides or tile_sides(padded_batch * heads)
    )
    dtype = backend.standardize_dtype(query.dtype)
    float_type = at_least_float32(dtype)
    masks = tile_masks(rows, columns, value_mask, attention_mask)

    # Masks are arguments, which JAX traces: it cannot take the gradient of what encloses tracers.
    @custom_gradient
    def attention(
        query: Tensor, key_t: Tensor, value: Tensor, *tiles: Tensor
    ) -> tuple[Tensor, Callable]:
        named = dict(zip(masks, tiles, strict=True))
        grid = _Grid(rows, columns, causal, window, named, dtype, float_type)
        context, log_total = _forward(grid, query, key_t, value)
        tensors = query, key_t, value, context, log_total

        def gradients(d_output: Tensor) -> Tensors:
            return *_backward(grid, tensors, d_output), *(None for _ in tiles)

        return context, gradients

    # The gradient keeps its arguments: so these are the tiles, and not the sequences as well. The
    # keys are transposed once, and not at every step.
    query, key, value = tile(query, rows), tile(key, columns), tile(value, columns)
    context = attention(query, ops.swapaxes(key, -1, -2), value, *masks.values())
    return untile(context, batch, length)


class _Grid(NamedTuple):
    """The tiles of the scores: n rows of queries, n' columns of keys."""

    rows: Tiles
    columns: Tiles
    causal: bool
    window: int | None
    masks: dict[str, Tensor]
    dtype: str
    float_type: str

    @property
    def lookback(self) -> int | None:
        return self.window

    @property
    def lookahead(self) -> int | None:
        return 0 if self.causal else self.window

    def product(self, x: Tensor, y: Tensor) -> Tensor:
        """The matrix product of `x` and `y` in the dtype of the inputs, as `float_type`."""
        x, y = ops.cast(x, self.dtype), ops.cast(y, self.dtype)
        return ops.cast(ops.matmul(x, y), self.float_type)

    def scores(self, i: Tensor, j: Tensor, query: Tensor, key_t: Tensor) -> Tensor:
        """The masked scores of tile (i, j)."""
        scores = finite_scores(ops.matmul(query, key_t))
        order = self.causal, self.window, self.float_type
        bias = tile_bias(i, j, self.rows, self.columns, self.masks, *order)
        return scores if bias is None else scores + bias


def _forward(grid: _Grid, query: Tensor, key_t: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the context O (n, B, N, T / n, V) and L (n, B, N, T / n, 1)."""
    zeros_column = ops.zeros_like(query[..., :1], dtype=grid.float_type)  # (n, B, N, T / n, 1)
    zeros_row = ops.zeros_like(get_tile(value, 0)[:, :, :1], dtype=grid.float_type)
    step = functools.partial(_forward_row, grid, query, key_t, value)
    results = zeros_column + zeros_row, zeros_column
    context, log_total = sequential_fori_loop(0, grid.rows.count, step, results)
    return ops.cast(context, grid.dtype), log_total


def _forward_row(
    grid: _Grid, query: Tensor, key_t: Tensor, value: Tensor, i: Tensor, results: Tensors
) -> Tensors:
    """Writes O_i and L_i to `results`."""

    def step(j: Tensor, state: Tensors) -> Tensors:
        largest, total, context = state
        scores = grid.scores(i, j, get_tile(query, i), get_tile(key_t, j))
        new_largest = ops.maximum(largest, ops.max(scores, axis=-1, keepdims=True))
        weights, rescale = ops.exp(scores - new_largest), ops.exp(largest - new_largest)
        total = total * rescale + ops.sum(weights, axis=-1, keepdims=True)
        # Before the division by `total` these sums overflow float16.
        weighted_values = ops.matmul(weights, ops.cast(get_tile(value, j), grid.float_type))
        return new_largest, total, context * rescale + weighted_values

    zeros_column = ops.zeros_like(get_tile(results[1], 0))
    zeros = ops.zeros_like(get_tile(results[0], 0))
    first, last = visible_tiles(i, grid.rows, grid.columns, grid.lookback, grid.lookahead)
    state = zeros_column + MASKED_SCORE, zeros_column, zeros
    largest, total, context = sequential_fori_loop(first, last, step, state)
    # If all keys of a query are masked, `context` is a mean of masked values; and with L = m the
    # gradient would take the masked keys for allowed ones.
    has_key = largest > MASKED_SCORE / 2
    total = ops.where(has_key, total, 1)
    context = ops.where(has_key, context / total, 0)
    log_total = ops.where(has_key, largest + ops.log(total), -MASKED_SCORE)
    return set_tile(results[0], i, context), set_tile(results[1], i, log_total)


def _backward(grid: _Grid, tensors: Tensors, d_output: Tensor) -> Tensors:
    """Returns the gradients of the tiles of query, transposed key and value."""
    query, key_t, value, context, log_total = tensors
    row_dot = ops.cast(context, grid.float_type) * ops.cast(d_output, grid.float_type)
    row_dot = ops.sum(row_dot, axis=-1, keepdims=True)  # D
    tensors = query, key_t, value, log_total, row_dot, d_output
    step = functools.partial(_backward_column, grid, tensors)
    zeros = tuple(ops.zeros_like(x, dtype=grid.float_type) for x in (query, key_t, value))
    gradients = sequential_fori_loop(0, grid.columns.count, step, zeros)
    return tuple(ops.cast(x, grid.dtype) for x in gradients)


def _backward_column(grid: _Grid, tensors: Tensors, j: Tensor, gradients: Tensors) -> Tensors:
    """Adds the share of column j to dQ, and writes dK_j and dV_j to `gradients`."""
    query, key_t, value, log_total, row_dot, d_output = tensors
    key_tile_t, value_tile = get_tile(key_t, j), get_tile(value, j)
    key_tile, value_tile_t = (ops.swapaxes(x, -1, -2) for x in (key_tile_t, value_tile))

    def step(i: Tensor, state: Tensors) -> Tensors:
        # A product is slow if its first factor is transposed and large: hence dK^T and dV^T.
        d_query, d_key_t, d_value_t = state
        query_tile, d_output_tile = get_tile(query, i), get_tile(d_output, i)
        scores = grid.scores(i, j, query_tile, key_tile_t)
        weights = ops.exp(scores - get_tile(log_total, i))
        # An overflow at a masked key must stay finite: 0 times infinity is NaN.
        d_weights = finite_scores(ops.matmul(d_output_tile, value_tile_t))
        d_scores = weights * (d_weights - get_tile(row_dot, i))
        d_value_t = d_value_t + grid.product(ops.swapaxes(d_output_tile, -1, -2), weights)
        d_key_t = d_key_t + grid.product(ops.swapaxes(query_tile, -1, -2), d_scores)
        d_query_tile = get_tile(d_query, i) + grid.product(d_scores, key_tile)
        return set_tile(d_query, i, d_query_tile), d_key_t, d_value_t

    d_query, d_key, d_value = gradients
    first, last = visible_tiles(j, grid.columns, grid.rows, grid.lookahead, grid.lookback)
    zeros = (ops.zeros_like(x, dtype=grid.float_type) for x in (key_tile_t, value_tile_t))
    state = (d_query, *zeros)
    d_query, d_key_tile_t, d_value_tile_t = sequential_fori_loop(first, last, step, state)
    d_value = set_tile(d_value, j, ops.swapaxes(d_value_tile_t, -1, -2))
    return d_query, set_tile(d_key, j, d_key_tile_t), d_value


def _pad_empty_batch(x: Tensor) -> Tensor:
    """Adds an example to an empty batch, which cannot be written tile by tile."""
    batch = None if x is None else ops.shape(x)[0]
    if batch is None or isinstance(batch, int):
        return x
    return ops.pad(x, [[0, ops.cast(batch == 0, "int32")], *[[0, 0]] * (len(x.shape) - 1)])
