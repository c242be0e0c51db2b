"""Batches of translation pairs."""

import functools
from typing import final

from examples.common import batches, devices
from examples.translation.shards import Shards

SHAPES = 12


@final
class Batches(batches.Batches):
    """Training batches ((source, target_in), target_out), each of about `tokens` tokens.

    Tokens are those of the longer side, with padding. Rows are a multiple of 8 where there are as
    many, and small corpora get fewer shapes, so that a shape has more than a few batches. With
    `sample`, as in `Shards.pairs`, the pieces of each epoch are drawn, and lengths with them: the
    numbers of steps and real tokens are then estimates.
    """

    def __init__(self, shards: Shards, tokens: int, seed: int = 0, sample=None):
        def rows(*widths):
            number = max(1, tokens // max(widths))
            return number - number % 8 if number > 8 else number

        counts = shards.histogram()
        limit = 1 + sum(s * t for s, t in enumerate(counts.sum(axis=0))) // (16 * tokens)
        pairs = functools.partial(shards.pairs, sample=sample)
        super().__init__(pairs, counts, min(int(limit), SHAPES), rows, seed)

    def finish(self, batches, seed):
        return devices.share(batches)
