"""Tiles of a sequence, and the mask of a pair of tiles of queries and keys."""

import functools
from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from keras_attention import masks
from keras_attention._internal.typing import Tensor

# The scores of a pair of tiles, (B, N, rows, columns), take 2 MB in float32 and so stay in the
# cache of the processor, while the sides of a tile are between these two.
SCORES_PER_TILE, MIN_SIDE, MAX_SIDE = 2**19, 64, 512


class Tiles(NamedTuple):
    """How `length` steps are divided: integers, or tensors if only a run knows them."""

    count: Tensor
    size: Tensor
    length: Tensor


def tile_sides(batch_heads: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the largest tile, powers of 2: its rows, the queries, and its columns, the keys.

    There are as many columns as rows, or twice as many.
    """
    if isinstance(batch_heads, int):
        power = (SCORES_PER_TILE // max(batch_heads, 1)).bit_length() - 1
        sides = [2 ** (power // 2), 2 ** ((power + 1) // 2)]
        rows, columns = (min(max(side, MIN_SIDE), MAX_SIDE) for side in sides)
        return rows, columns
    scores = SCORES_PER_TILE / ops.cast(ops.maximum(batch_heads, 1), "float32")
    power = ops.floor(ops.log2(scores))
    sides = [2.0 ** ops.floor(power / 2), 2.0 ** ops.floor((power + 1) / 2)]
    rows, columns = (ops.clip(ops.cast(side, "int32"), MIN_SIDE, MAX_SIDE) for side in sides)
    return rows, columns


def tiles_of(length: Tensor, max_size: Tensor) -> Tiles:
    """Returns the fewest tiles of equal size for `length` steps, at least one of one step."""
    count = (length + max_size - 1) // max_size
    at_least_one = functools.partial(max if isinstance(count, int) else ops.maximum, 1)
    count = at_least_one(count)
    return Tiles(count, at_least_one((length + count - 1) // count), length)


def visible_tiles(
    i: Tensor, tiles: Tiles, other_tiles: Tiles, lookback: int | None, lookahead: int | None
) -> tuple[Tensor, Tensor]:
    """Returns the half-open range of the `other_tiles` that tile `i` may attend to.

    Its steps attend to `lookback` steps before and `lookahead` steps after them; None: to all.
    """
    first = 0
    if lookback is not None:
        first = ops.maximum(0, (i * tiles.size - lookback) // other_tiles.size)
    if lookahead is None:
        return first, other_tiles.count
    last = ((i + 1) * tiles.size - 1 + lookahead) // other_tiles.size
    return first, ops.minimum(other_tiles.count, last + 1)


def pad_to_tiles(x: Tensor, axis: int, tiles: Tiles) -> Tensor:
    """Pads an axis of `x` with zeros to the end of the last tile."""
    pads = [(0, 0)] * len(x.shape)
    pads[axis] = (0, tiles.count * tiles.size - tiles.length)
    return ops.pad(x, pads)


def tile(x: Tensor, tiles: Tiles) -> Tensor:
    """(B, N, T, K) to (n, B, N, T / n, K), with zeros at the end of the last tile."""
    batch, heads, _, dim = ops.shape(x)
    x = ops.reshape(pad_to_tiles(x, 2, tiles), (batch, heads, tiles.count, tiles.size, dim))
    return ops.transpose(x, (2, 0, 1, 3, 4))


def untile(x: Tensor, batch: Tensor, length: Tensor) -> Tensor:
    """(n, B, N, T / n, K) to (B, N, T, K), without the padding of batch and steps."""
    count, padded_batch, heads, size, dim = ops.shape(x)
    x = ops.reshape(ops.transpose(x, (1, 2, 0, 3, 4)), (padded_batch, heads, count * size, dim))
    return x[:batch, :, :length]


def get_tile(x: Tensor, i: Tensor) -> Tensor:
    return ops.take(x, i, axis=0)


def set_tile(x: Tensor, i: Tensor, value: Tensor) -> Tensor:
    return ops.scatter_update(x, ops.reshape(i, (1, 1)), ops.expand_dims(value, 0))


def tile_bias_fn(
    rows: Tiles,
    columns: Tiles,
    value_mask: Tensor,
    attention_mask: Tensor,
    causal: bool,
    window: int | None,
    dtype: str,
) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Returns the bias of the scores of tile (i, j), a function of i and j; None: no bias.

    It is 0 where attention is allowed and -1e30 elsewhere. Masks are tiled too, so that nothing of
    size (B, T, S) is made, except from such a mask.
    """
    static = all(isinstance(n, int) for n in columns)
    if value_mask is None and not (static and columns.count * columns.size == columns.length):
        value_mask = ops.ones((1, columns.length), dtype="bool")  # to mask the padding
    if value_mask is not None:
        value_mask = pad_to_tiles(ops.cast(value_mask, "bool"), 1, columns)
        value_mask = ops.reshape(value_mask, (-1, columns.count, columns.size))
        value_mask = ops.transpose(value_mask, (1, 0, 2))  # (n, B, S / n)
    if attention_mask is not None:
        pair_mask = ops.cast(attention_mask, "bool")
        heads = ops.shape(pair_mask)[1]
        shape = (ops.shape(pair_mask)[0], heads, rows.length, columns.length)
        pair_mask = pad_to_tiles(ops.broadcast_to(pair_mask, shape), 2, rows)
        pair_mask = pad_to_tiles(pair_mask, 3, columns)
        tiles_shape = (-1, heads, rows.count, rows.size, columns.count, columns.size)
        pair_mask = ops.reshape(pair_mask, tiles_shape)
        # (n, n', B, N, T / n, S / n')
        attention_mask = ops.transpose(pair_mask, (2, 4, 0, 1, 3, 5))
    if value_mask is None and attention_mask is None and not causal and window is None:
        return None
    row, column = (ops.arange(tiles.size, dtype="int32") for tiles in (rows, columns))

    def causal_window(i: Tensor, j: Tensor) -> Tensor | None:
        distance = (i * rows.size + row)[:, None] - (j * columns.size + column)  # (T / n, S / n)
        in_window = None if window is None else ops.abs(distance) <= window
        if not causal:
            return in_window
        return distance >= 0 if in_window is None else ops.logical_and(distance >= 0, in_window)

    def bias(i: Tensor, j: Tensor) -> Tensor:
        allowed = masks.combine(
            value_mask=None if value_mask is None else get_tile(value_mask, j),
            causal_mask=causal_window(i, j),
        )  # (T / n, S / n), or with a batch in front
        allowed = None if allowed is None else ops.expand_dims(allowed, -3)  # for every head
        if attention_mask is not None:
            pairs = get_tile(get_tile(attention_mask, i), j)  # (B, N, T / n, S / n')
            allowed = pairs if allowed is None else ops.logical_and(allowed, pairs)
        return ops.cast(ops.where(allowed, 0.0, masks.MASKED_SCORE), dtype)

    return bias
