"""Sequences in blocks, and what a block of queries may see of a block of keys."""

from keras import ops

# The scores of a block: so many numbers, as long as its sides stay between these two.
BLOCK_SCORES, SHORTEST, LONGEST = 2**21, 64, 512

# What is added to a score that nobody may see.
HIDDEN = -1e30


def side_of(batch_heads, longest):
    """The side of a block, a power of 2 such that (B, N, side, side) scores are not too many."""
    if isinstance(batch_heads, int):
        side = 2 ** (((BLOCK_SCORES // max(batch_heads, 1)).bit_length() - 1) // 2)
        return min(max(side, SHORTEST), longest)
    scores = BLOCK_SCORES / ops.cast(ops.maximum(batch_heads, 1), "float32")
    side = ops.cast(2.0 ** ops.floor(ops.log2(scores) / 2), "int32")
    return ops.minimum(ops.maximum(side, SHORTEST), longest)


def blocks_of(length, longest):
    """Number and size of the fewest blocks of equal size that hold `length` steps."""
    number = (length + longest - 1) // longest
    number = max(number, 1) if isinstance(number, int) else ops.maximum(number, 1)
    return number, (length + number - 1) // number, length


def reach(i, blocks, others, before, after):
    """From which to before which of the `others` the steps of block `i` may look.

    They look up to `before` steps back and `after` ahead; None is without end.
    """
    (_, size, _), (number, other, _) = blocks, others
    first = 0 if before is None else ops.maximum(0, (i * size - before) // other)
    if after is None:
        return first, number
    return first, ops.minimum(number, ((i + 1) * size - 1 + after) // other + 1)


def split(x, blocks):
    """(B, N, T, K) to (n, B, N, T / n, K), with zeros at the end of the last block."""
    number, size, _ = blocks
    batch, heads, _, width = ops.shape(x)
    x = ops.reshape(_padded(x, 2, blocks), (batch, heads, number, size, width))
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
    (_, row_size, queries), (number, column_size, memory) = rows, columns
    whole = all(isinstance(n, int) for n in columns) and number * column_size == memory
    if value_mask is None and not whole:
        value_mask = ops.ones((1, memory), dtype="bool")
    if value_mask is not None:
        value_mask = _padded(ops.cast(value_mask, "bool"), 1, columns)
        value_mask = ops.reshape(value_mask, (-1, number, column_size))
        value_mask = ops.expand_dims(
            ops.transpose(value_mask, (1, 0, 2)), (2, 3)
        )  # (n, B, 1, 1, S / n)
    if attention_mask is not None:
        pairs = ops.cast(attention_mask, "bool")
        pairs = ops.broadcast_to(pairs, (ops.shape(pairs)[0], queries, memory))
        pairs = _padded(_padded(pairs, 1, rows), 2, columns)
        pairs = ops.reshape(pairs, (-1, rows[0], row_size, number, column_size))
        attention_mask = ops.transpose(pairs, (1, 3, 0, 2, 4))  # (n, n', B, T / n, S / n')
    if value_mask is None and attention_mask is None and not causal and window is None:
        return None
    row, column = ops.arange(row_size, dtype="int32"), ops.arange(column_size, dtype="int32")

    def block_mask(i, j):
        distance = (i * row_size + row)[:, None] - (j * column_size + column)  # (T / n, S / n)
        parts = [
            None if value_mask is None else block_at(value_mask, j),
            None
            if attention_mask is None
            else ops.expand_dims(block_at(block_at(attention_mask, i), j), 1),
            distance >= 0 if causal else None,
            None if window is None else ops.abs(distance) <= window,
        ]
        allowed = None
        for part in parts:
            if part is not None:
                allowed = part if allowed is None else ops.logical_and(allowed, part)
        return ops.cast(ops.where(allowed, 0.0, HIDDEN), dtype)

    return block_mask


def _padded(x, axis, blocks):
    number, size, length = blocks
    pads = [(0, 0)] * len(x.shape)
    pads[axis] = (0, number * size - length)
    return ops.pad(x, pads)
