"""The shapes of padded batches: a few, chosen from the lengths so that padding is least."""

import numpy as np


def least_padding(counts: np.ndarray, limit: int, grid: int = 64) -> np.ndarray:
    """(K, 2): at most `limit` pairs of widths, each holding the one before, and the last all.

    Two sequences go to the first pair of widths that holds both. With N(s, t), the number of
    those of lengths up to s and t, the tokens of the first k batches' shapes, computed or padded,
    are at least

        cost_k(s, t) = min_{s' <= s, t' <= t} cost_{k-1}(s', t') + (N(s, t) - N(s', t')) (s + t)

    Args:
        counts: (S, T), how often two sequences of lengths s and t occur.
        limit: The largest number of shapes.
        grid: Widths are multiples of a number for which this many are enough.
    """
    steps = [-(-size // grid) for size in counts.shape]
    widths = [np.arange(-(-(n - 1) // k) + 1) * k for n, k in zip(counts.shape, steps, strict=True)]
    ends = [np.minimum(width, size - 1) for width, size in zip(widths, counts.shape, strict=True)]
    within = counts.cumsum(0).cumsum(1)[np.ix_(*ends)]
    area = np.add.outer(*widths)
    costs = [np.where(within, within * area, 0)]
    before = [np.zeros((*within.shape, 2), int)]
    for _ in range(limit - 1):
        last, cost, chosen = costs[-1], np.empty_like(within), np.empty_like(before[0])
        for s, t in np.ndindex(within.shape):
            inside = slice(s + 1), slice(t + 1)
            ways = last[inside] + (within[s, t] - within[inside]) * area[s, t]
            chosen[s, t] = np.unravel_index(ways.argmin(), ways.shape)
            cost[s, t] = ways[tuple(chosen[s, t])]
        costs.append(cost)
        before.append(chosen)
    corner = tuple(size - 1 for size in within.shape)
    shapes = []
    for chosen in reversed(before):
        if within[corner]:
            shapes.append([w[i] for w, i in zip(widths, corner, strict=True)])
        corner = tuple(chosen[corner])
    return np.unique(shapes, axis=0)
