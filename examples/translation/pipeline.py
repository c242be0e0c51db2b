"""Pairs of sentences to batches of ids."""

from typing import final

import numpy as np
import tensorflow as tf

from examples.common import batches
from examples.common.errors import UserError
from examples.translation.data import Pair
from examples.translation.tokenizer import END, START, Tokenizer


def encode(pairs: list[Pair], source: Tokenizer, target: Tokenizer) -> tf.data.Dataset:
    """One element a pair: source ids and [END], target ids between [START] and [END]."""

    def encode_batch(sources, targets):
        sources, targets = source.encode(sources), target.encode(targets)
        column = tf.ones((sources.nrows(), 1), tf.int32)
        return (
            tf.concat([sources, END * column], axis=1),
            tf.concat([START * column, targets, END * column], axis=1),
        )

    texts = ([pair.source for pair in pairs], [pair.target for pair in pairs])
    encoded = tf.data.Dataset.from_tensor_slices(texts).batch(1024)
    return encoded.map(encode_batch, num_parallel_calls=tf.data.AUTOTUNE).unbatch().cache()


def lengths(encoded: tf.data.Dataset) -> np.ndarray:
    """(N, 2): the tokens of each source and target, without the special ones."""
    sizes = encoded.map(lambda s, t: tf.stack([tf.size(s) - 1, tf.size(t) - 2])).batch(4096)
    return np.concatenate(list(sizes.as_numpy_iterator()))


def fit_length(
    pairs: list[Pair], source: Tokenizer, target: Tokenizer, limit: int, skip: bool
) -> tuple[list[Pair], int]:
    """The pairs with at most `limit` tokens on each side, and how many others were skipped.

    Unless `skip`, a pair over the limit is an error.
    """
    sizes = lengths(encode(pairs, source, target))
    long = np.flatnonzero(sizes.max(axis=1) > limit)
    if len(long) and not skip:
        side = "source" if sizes[long[0], 0] > limit else "target"
        more = f" (and {len(long) - 1} more pairs)" if len(long) > 1 else ""
        raise UserError(
            f"{pairs[long[0]].origin}: the {side} sentence has {sizes[long[0]].max()} tokens, the "
            f"limit is {limit}{more}: raise --max-length, or leave such pairs out with --skip-long"
        )
    skipped = set(long.tolist())
    return [pair for i, pair in enumerate(pairs) if i not in skipped], len(long)


@final
class Batches(batches.Batches):
    """Training batches ((source, target_in), target_out); no loss counts the rows of zeros."""

    def __init__(self, encoded: tf.data.Dataset, batch_size: int, buckets: int = 3, seed: int = 0):
        shifted = encoded.map(lambda source, target: ((source, target[:-1]), target[1:]))
        longest = lengths(encoded).max(axis=1) + 1
        super().__init__(shifted, longest, batch_size, buckets, seed)

    def finish(self, batches, seed):
        return batches
