"""Maps of two pictures in one, on which attention learns to look at the right one.

Every second column of a map is that of another picture: the odd ones of one row, the even ones of
the next. Else to tell odd columns from even ones, by what convolutions with strides leave, would be
to tell pictures apart.
"""

from keras import ops


def mix(maps):
    """The maps (B, H, W, C), each with columns of the one before it in the batch."""
    return ops.where(are_others(maps)[:, None, :, None], ops.roll(maps, 1, axis=0), maps)


def share_of_others(weights):
    """How much of the weights (B, T, H, W) is on columns of another picture, (B, T)."""
    others = are_others(weights[:, 0])[:, None, None]
    return ops.sum(ops.where(others, weights, 0.0), axis=(2, 3))


def are_others(maps):
    """Which columns are those of another picture, (B, W)."""
    rows, _, columns = map(ops.arange, ops.shape(maps)[:3])
    return (rows[:, None] + columns) % 2 == 1
