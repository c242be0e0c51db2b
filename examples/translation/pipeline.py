"""Pairs to batches with tf.data: encoded in parallel, cached, shuffled, bucketed, prefetched."""

import numpy as np
import tensorflow as tf

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
    batches = tf.data.Dataset.from_tensor_slices(texts).batch(1024)
    return batches.map(encode_batch, num_parallel_calls=tf.data.AUTOTUNE).unbatch().cache()


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
    left_out = set(long.tolist())
    return [pair for i, pair in enumerate(pairs) if i not in left_out], len(long)


class Batches:
    """Training batches ((source, target_in), target_out), all of a few fixed shapes.

    A pair goes to the narrowest bucket that holds it; the widths split the pairs into about equal
    shares. Each batch of a bucket is (batch_size, width) for all three: the last one of an epoch
    is filled up with empty rows, which no loss or metric counts. So XLA compiles once per bucket.
    """

    def __init__(self, encoded: tf.data.Dataset, batch_size: int, buckets: int = 3, seed: int = 0):
        self.encoded = encoded
        self.batch_size = batch_size
        self.seed = seed
        longest = lengths(encoded).max(axis=1) + 1
        shares = np.quantile(longest, np.linspace(0, 1, buckets + 1)[1:], method="higher")
        self.widths = sorted({int(width) for width in shares})
        counts = np.bincount(np.searchsorted(self.widths, longest), minlength=len(self.widths))
        self.pairs = len(longest)
        self.steps = int(np.ceil(counts / batch_size).sum())

    def epoch(self, number) -> tf.data.Dataset:
        """The batches of one epoch. Their order depends on the seed and the number alone."""
        shuffled = self.encoded.shuffle(
            min(self.pairs, 500_000), seed=self.seed + number, reshuffle_each_iteration=False
        )
        return self.bucketed(shuffled)

    def epochs(self, first: int, last: int) -> tf.data.Dataset:
        """The epochs from `first` up to, but not with, `last`."""
        numbers = tf.data.Dataset.range(first, last)
        return numbers.flat_map(self.epoch).prefetch(tf.data.AUTOTUNE)

    def in_order(self) -> tf.data.Dataset:
        """All pairs once, unshuffled: for validation."""
        counted = tf.data.experimental.assert_cardinality(self.steps)
        return self.bucketed(self.encoded).apply(counted).prefetch(tf.data.AUTOTUNE)

    def bucketed(self, pairs: tf.data.Dataset) -> tf.data.Dataset:
        shifted = pairs.map(lambda source, target: ((source, target[:-1]), target[1:]))
        batches = shifted.bucket_by_sequence_length(
            lambda inputs, _: tf.maximum(tf.size(inputs[0]), tf.size(inputs[1])),
            bucket_boundaries=[width + 1 for width in self.widths],
            bucket_batch_sizes=[self.batch_size] * (len(self.widths) + 1),
            pad_to_bucket_boundary=True,
        )

        def fill(batch):
            missing = self.batch_size - tf.shape(batch)[0]
            return tf.ensure_shape(tf.pad(batch, [[0, missing], [0, 0]]), (self.batch_size, None))

        return batches.map(lambda inputs, out: tf.nest.map_structure(fill, (inputs, out)))
