"""Tiles of a sequence, and the mask of a pair of tiles of queries and keys."""

import functools
from typing import NamedTuple

from keras import ops

from keras_attention._internal.typing import Tensor
from keras_attention.masks import MASKED_SCORE

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


def tile_masks(
    rows: Tiles, columns: Tiles, value_mask: Tensor, attention_mask: Tensor
) -> dict[str, Tensor]:
    """Returns the masks in tiles, those that there are.

    "value_mask" is (n', B, S / n') and "attention_mask" (n, n', B, N, T / n, S / n'), so that
    nothing of the size of the scores is made, except from such a mask.
    """
    tiles, static = {}, all(isinstance(n, int) for n in columns)
    if value_mask is None and not (static and columns.count * columns.size == columns.length):
        value_mask = ops.ones((1, columns.length), dtype="bool")  # to mask the padding
    if value_mask is not None:
        value_mask = pad_to_tiles(ops.cast(value_mask, "bool"), 1, columns)
        value_mask = ops.reshape(value_mask, (-1, columns.count, columns.size))
        tiles["value_mask"] = ops.transpose(value_mask, (1, 0, 2))
    if attention_mask is not None:
        pair_mask = ops.cast(attention_mask, "bool")
        heads = ops.shape(pair_mask)[1]
        shape = (ops.shape(pair_mask)[0], heads, rows.length, columns.length)
        pair_mask = pad_to_tiles(ops.broadcast_to(pair_mask, shape), 2, rows)
        pair_mask = pad_to_tiles(pair_mask, 3, columns)
        tiles_shape = (-1, heads, rows.count, rows.size, columns.count, columns.size)
        pair_mask = ops.reshape(pair_mask, tiles_shape)
        tiles["attention_mask"] = ops.transpose(pair_mask, (2, 4, 0, 1, 3, 5))
    return tiles


def tile_bias(
    i: Tensor,
    j: Tensor,
    rows: Tiles,
    columns: Tiles,
    tiled_masks: dict[str, Tensor],
    causal: bool,
    window: int | None,
    dtype: str,
) -> Tensor | None:
    """Returns the bias of the scores of tile (i, j), or None if there is nothing to mask.

    It is 0 where attention is allowed and -1e30 elsewhere.
    """
    allowed = []  # broadcastable to (B, N, T / n, S / n')
    if causal or window is not None:
        row, column = (ops.arange(tiles.size, dtype="int32") for tiles in (rows, columns))
        distance = (i * rows.size + row)[:, None] - (j * columns.size + column)
        if causal:
            allowed.append(distance >= 0)
        if window is not None:
            allowed.append(ops.abs(distance) <= window)
    if "value_mask" in tiled_masks:
        value_mask = get_tile(tiled_masks["value_mask"], j)
        allowed.append(ops.expand_dims(value_mask, (1, 2)))
    if "attention_mask" in tiled_masks:
        allowed.append(get_tile(get_tile(tiled_masks["attention_mask"], i), j))
    if not allowed:
        return None
    bias = ops.where(functools.reduce(ops.logical_and, allowed), 0.0, MASKED_SCORE)
    return ops.cast(bias, dtype)
