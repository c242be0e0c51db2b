"""Maps of two pictures in one, on which attention learns to look at the right one.

Every second column of a map is that of another picture: the odd ones in one row of the batch, the
even ones in the next. Otherwise attention could tell the pictures apart by odd and even columns, of
which strided convolutions leave traces.
"""

from keras import ops


def mix(maps):
    """The maps (B, H, W, C), each with columns of the one before it; a single one with its own."""
    return ops.where(other_columns(maps)[:, None, :, None], ops.roll(maps, 1, axis=0), maps)


def share_of_others(weights):
    """How much of the weights (B, T, H, W) is on columns of another picture, (B, T)."""
    others = other_columns(weights[:, 0])[:, None, None]
    return ops.sum(ops.where(others, weights, 0.0), axis=(2, 3))


def other_columns(maps):
    """Which columns are those of another picture, (B, W)."""
    rows, _, columns = map(ops.arange, ops.shape(maps)[:3])
    return (rows[:, None] + columns) % 2 == 1
