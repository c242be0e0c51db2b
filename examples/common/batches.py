"""Batches of sequences with tf.data: shuffled, padded to one of a few shapes, prefetched."""

import abc
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from examples.common.shapes import least_padding
from examples.common.special import END, PAD


class Batches(abc.ABC):
    """Abstract: training batches ((source, target_in), target_out) of a few fixed shapes.

    An element is a source, a number or a sequence, and a target of ids between [START] and [END].
    It goes to the first shape that holds it, so that XLA compiles once for each. The last batch of
    a shape is filled up with rows that no loss counts: their target is padding, and their source
    [END] alone, as cuDNN takes no row without a token.

    Args:
        elements: Called with the seed of an epoch, or with None for the order that they have;
            returns the dataset of all elements.
        counts: (S, T), how many elements have s source tokens, or 0 of them, and t target steps.
        limit: How many shapes there are, at most.
        rows: Called with the two widths of a shape; returns the rows of its batches.
        seed: Decides, with the number of an epoch, its order.
    """

    def __init__(self, elements: Callable, counts: np.ndarray, limit: int, rows, seed: int = 0):
        self.elements, self.seed = elements, seed
        self.shapes = least_padding(counts, limit)
        self.rows = np.array([rows(*shape) for shape in self.shapes])
        held = np.diff([counts[: s + 1, : t + 1].sum() for s, t in self.shapes], prepend=0)
        steps = -(-held // self.rows)
        self.steps = int(steps.sum())
        real = (counts * np.add.outer(*map(np.arange, counts.shape))).sum()
        self.share = real / (steps * self.rows * self.shapes.sum(axis=1)).sum()

    @abc.abstractmethod
    def finish(self, batches: tf.data.Dataset, seed) -> tf.data.Dataset:
        """Makes of batches what the model is trained on; `seed` is that of the epoch."""

    def epochs(self, first: int, last: int, skip: int = 0) -> tf.data.Dataset:
        """The epochs from `first` up to, but not with, `last`, less the first `skip` batches."""
        numbers = tf.data.Dataset.range(first, last)
        return numbers.flat_map(self._epoch).skip(skip).prefetch(tf.data.AUTOTUNE)

    def in_order(self) -> tf.data.Dataset:
        """All elements once, unshuffled: for validation."""
        counted = tf.data.experimental.assert_cardinality(self.steps)
        return self.finish(self._batched(self.elements(None)), self.seed).apply(counted)

    def _epoch(self, number) -> tf.data.Dataset:
        seed = self.seed + number
        batches = self.finish(self._batched(self.elements(seed)), seed)
        return batches.repeat().take(self.steps)  # if lengths are drawn, so is how many there are

    def _batched(self, elements: tf.data.Dataset) -> tf.data.Dataset:
        shapes, rows = tf.constant(self.shapes, tf.int64), tf.constant(self.rows, tf.int64)
        rank = elements.element_spec[0].shape.rank

        def shape_of(source, target):
            sizes = tf.stack([tf.size(source) if rank else 0, tf.size(target) - 1])
            smaller = tf.reduce_any(shapes < tf.cast(sizes, tf.int64), axis=1)
            return tf.math.count_nonzero(smaller)

        def pad(number, window):
            widths = shapes[number, :1][:rank], shapes[number, 1:] + 1
            return window.padded_batch(rows[number], widths).map(lambda *b: fill(rows[number], *b))

        def fill(count, source, target):
            missing = [0, count - tf.shape(target, tf.int64)[0]]
            if rank:
                end = tf.fill((missing[1], 1), tf.constant(END, source.dtype))
                width = tf.shape(source, tf.int64)[1]
                source = tf.concat([source, tf.pad(end, [[0, 0], [0, width - 1]])], axis=0)
            else:
                source = tf.pad(source, [missing])
            target = tf.pad(target, [missing, [0, 0]])
            target_out = target[:, 1:]
            # [END] is no input: hard attention would draw a position for it, and learn from that.
            return (source, tf.where(target_out == PAD, PAD, target[:, :-1])), target_out

        return elements.group_by_window(shape_of, pad, window_size_func=lambda number: rows[number])
