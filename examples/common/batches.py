"""Batches of sequences with tf.data: shuffled, bucketed by length, padded, prefetched."""

import abc

import numpy as np
import tensorflow as tf


class Batches(abc.ABC):
    """Abstract: batches of a few fixed shapes, so that XLA compiles once per bucket.

    An element goes to the narrowest bucket that holds it; the widths split the elements into about
    equal shares. The last batch of a bucket is filled up with rows of zeros.

    Args:
        elements: A dataset of elements, which are nested sequences of numbers, or numbers.
        lengths: (N,), how long the longest sequence of each element is.
        batch_size: Elements in a batch.
        buckets: How many buckets there are, at most.
        seed: Decides, with the number of an epoch, its order.
    """

    def __init__(self, elements: tf.data.Dataset, lengths, batch_size, buckets=3, seed=0):
        self.elements = elements
        self.size = len(lengths)
        self.batch_size = batch_size
        self.seed = seed
        widths = np.quantile(lengths, np.linspace(0, 1, buckets + 1)[1:], method="higher")
        self.widths = sorted({int(width) for width in widths})
        counts = np.bincount(np.searchsorted(self.widths, lengths), minlength=len(self.widths))
        self.steps = int(np.ceil(counts / batch_size).sum())

    @abc.abstractmethod
    def finish(self, batches: tf.data.Dataset, seed) -> tf.data.Dataset:
        """Makes training batches (x, y) of bucketed ones; `seed` is that of the epoch."""

    def epochs(self, first: int, last: int, skip: int = 0) -> tf.data.Dataset:
        """The epochs from `first` up to, but not including, `last`, without `skip` batches."""
        numbers = tf.data.Dataset.range(first, last)
        return numbers.flat_map(self._epoch).skip(skip).prefetch(tf.data.AUTOTUNE)

    def in_order(self) -> tf.data.Dataset:
        """All elements once, unshuffled: for validation."""
        counted = tf.data.experimental.assert_cardinality(self.steps)
        return self.finish(self._bucketed(self.elements), self.seed).apply(counted)

    def _epoch(self, number) -> tf.data.Dataset:
        seed = self.seed + number
        shuffled = self.elements.shuffle(
            min(self.size, 500_000), seed=seed, reshuffle_each_iteration=False
        )
        return self.finish(self._bucketed(shuffled), seed)

    def _bucketed(self, elements: tf.data.Dataset) -> tf.data.Dataset:
        batches = elements.bucket_by_sequence_length(
            lambda *element: tf.reduce_max([tf.size(part) for part in tf.nest.flatten(element)]),
            bucket_boundaries=[width + 1 for width in self.widths],
            bucket_batch_sizes=[self.batch_size] * (len(self.widths) + 1),
            pad_to_bucket_boundary=True,
        )

        def fill(part):
            missing = [[0, self.batch_size - tf.shape(part)[0]], *[[0, 0]] * (part.shape.rank - 1)]
            return tf.ensure_shape(tf.pad(part, missing), (self.batch_size, *part.shape[1:]))

        return batches.map(lambda *batch: tf.nest.map_structure(fill, batch))
