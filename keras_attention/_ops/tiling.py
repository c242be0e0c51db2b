"""Sequences in blocks, and what a block of queries may see of a block of keys."""

import functools
from typing import Any, NamedTuple

from keras import ops

from keras_attention import masks

# The scores of a block, (B, N, rows, columns): 2 MB in float32, which stay near the processor, as
# long as its sides stay between these two.
BLOCK_SCORES, SHORTEST, LONGEST = 2**19, 64, 512


class Blocks(NamedTuple):
    """How a sequence of `length` steps lies in blocks: integers, or tensors that a run knows."""

    number: Any
    size: Any
    length: Any


def sides_of(batch_heads):
    """The longest sides of a block, powers of 2: of its rows, the queries, and its columns.

    There are as many columns as rows, or twice as many.
    """
    if isinstance(batch_heads, int):
        power = (BLOCK_SCORES // max(batch_heads, 1)).bit_length() - 1
        sides = (2 ** (power // 2), 2 ** ((power + 1) // 2))
        return tuple(min(max(side, SHORTEST), LONGEST) for side in sides)
    scores = BLOCK_SCORES / ops.cast(ops.maximum(batch_heads, 1), "float32")
    power = ops.floor(ops.log2(scores))
    sides = (2.0 ** ops.floor(power / 2), 2.0 ** ops.floor((power + 1) / 2))
    return tuple(
        ops.minimum(ops.maximum(ops.cast(side, "int32"), SHORTEST), LONGEST) for side in sides
    )


def blocks_of(length, longest):
    """The fewest blocks of equal size that hold `length` steps: at least one, of at least one."""
    number = (length + longest - 1) // longest
    at_least_one = functools.partial(max if isinstance(number, int) else ops.maximum, 1)
    number = at_least_one(number)
    return Blocks(number, at_least_one((length + number - 1) // number), length)


def reach(i, blocks, others, before, after):
    """From which to before which of the `others` the steps of block `i` may look.

    They look up to `before` steps back and `after` ahead; None is without end.
    """
    first = 0 if before is None else ops.maximum(0, (i * blocks.size - before) // others.size)
    if after is None:
        return first, others.number
    last = ((i + 1) * blocks.size - 1 + after) // others.size
    return first, ops.minimum(others.number, last + 1)


def padded(x, axis, blocks):
    """Returns `x` with zeros at the end of the last block of an axis."""
    pads = [(0, 0)] * len(x.shape)
    pads[axis] = (0, blocks.number * blocks.size - blocks.length)
    return ops.pad(x, pads)


def split(x, blocks):
    """(B, N, T, K) to (n, B, N, T / n, K), with zeros at the end of the last block."""
    batch, heads, _, width = ops.shape(x)
    x = ops.reshape(padded(x, 2, blocks), (batch, heads, blocks.number, blocks.size, width))
    return ops.transpose(x, (2, 0, 1, 3, 4))


def joined(x, length):
    """(n, B, N, T / n, K) to (B, N, T, K), without what came after the last step."""
    number, batch, heads, size, width = ops.shape(x)
    x = ops.reshape(ops.transpose(x, (1, 2, 0, 3, 4)), (batch, heads, number * size, width))
    return x[:, :, :length]


def block_at(blocks, i):
    return ops.take(blocks, i, axis=0)


def put_block(blocks, i, block):
    return ops.scatter_update(blocks, ops.reshape(i, (1, 1)), ops.expand_dims(block, 0))


def block_mask_of(rows, columns, value_mask, attention_mask, causal, window, dtype):
    """Returns what to add to the scores of block (i, j), as a function of i and j, or None.

    The masks come in blocks of their own: nothing of size (B, T, S) but what the caller gave.
    """
    whole = all(isinstance(n, int) for n in columns)
    if value_mask is None and not (whole and columns.number * columns.size == columns.length):
        value_mask = ops.ones((1, columns.length), dtype="bool")
    if value_mask is not None:
        value_mask = padded(ops.cast(value_mask, "bool"), 1, columns)
        value_mask = ops.reshape(value_mask, (-1, columns.number, columns.size))
        value_mask = ops.transpose(value_mask, (1, 0, 2))  # (n, B, S / n)
    if attention_mask is not None:
        pairs = ops.cast(attention_mask, "bool")
        pairs = ops.broadcast_to(pairs, (ops.shape(pairs)[0], rows.length, columns.length))
        pairs = padded(padded(pairs, 1, rows), 2, columns)
        pairs = ops.reshape(pairs, (-1, rows.number, rows.size, columns.number, columns.size))
        attention_mask = ops.transpose(pairs, (1, 3, 0, 2, 4))  # (n, n', B, T / n, S / n')
    if value_mask is None and attention_mask is None and not causal and window is None:
        return None
    row, column = (ops.arange(blocks.size, dtype="int32") for blocks in (rows, columns))

    def order(i, j):
        distance = (i * rows.size + row)[:, None] - (j * columns.size + column)  # (T / n, S / n)
        near = None if window is None else ops.abs(distance) <= window
        if not causal:
            return near
        return distance >= 0 if near is None else ops.logical_and(distance >= 0, near)

    def block_mask(i, j):
        allowed = masks.combine(
            value_mask=None if value_mask is None else block_at(value_mask, j),
            attention_mask=(
                None if attention_mask is None else block_at(block_at(attention_mask, i), j)
            ),
            causal_mask=order(i, j),
        )  # (T / n, S / n), or with a batch in front
        allowed = ops.expand_dims(allowed, -3)  # the same for every head
        return ops.cast(ops.where(allowed, 0.0, masks.MASKED_SCORE), dtype)

    return block_mask
