"""Batches of translation pairs."""

from typing import final

from examples.common import batches, devices
from examples.translation.shards import Shards

SHAPES = 12


@final
class Batches(batches.Batches):
    """Training batches ((source, target_in), target_out), each of about `tokens` tokens.

    Tokens are those of the longer side, with padding. Rows are a multiple of 8 where there are as
    many, and small corpora get fewer shapes, so that a shape has more than a few batches.
    """

    def __init__(self, shards: Shards, tokens: int, seed: int = 0):
        def rows(*widths):
            number = max(1, tokens // max(widths))
            return number - number % 8 if number > 8 else number

        counts = shards.histogram()
        limit = 1 + sum(s * t for s, t in enumerate(counts.sum(axis=0))) // (16 * tokens)
        super().__init__(shards.pairs, counts, min(int(limit), SHAPES), rows, seed)

    def finish(self, batches, seed):
        return devices.share(batches)
