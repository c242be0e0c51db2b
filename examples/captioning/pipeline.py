"""Pictures and captions to batches with tf.data: shuffled, bucketed, looked up, prefetched.

Pictures come as rows that are ready on disk (see `features`), so that an epoch decodes nothing.
"""

import numpy as np
import tensorflow as tf

from examples.captioning.data import Picture
from examples.captioning.features import Features
from examples.captioning.tokenizer import PAD, Tokenizer

SHIFT = 4  # pixels that a training picture moves, at most, to each side


def encode(pictures: list[Picture], tokenizer: Tokenizer, limit: int) -> tuple[np.ndarray, ...]:
    """Every caption of every picture: the picture's number (N,), and the ids (N, T), padded."""
    pairs = [
        (number, tokenizer.encode(caption, limit))
        for number, picture in enumerate(pictures)
        for caption in picture.captions
    ]
    ids = np.full((len(pairs), max(len(row) for _, row in pairs)), PAD, "int32")
    for row, (_, caption) in zip(ids, pairs, strict=True):
        row[: len(caption)] = caption
    return np.array([number for number, _ in pairs]), ids


class Batches:
    """Training batches ((source, target_in), target_out) of a few fixed shapes.

    A caption goes to the narrowest bucket that holds it; the widths split the captions into about
    equal shares. The last batch of a bucket is filled up with empty captions of pictures from all
    over, which no loss or metric counts. So XLA compiles once per bucket.

    Args:
        source: The pictures' pixels or features.
        numbers: (N,), the picture of each caption.
        ids: (N, T), the captions.
        batch_size: Captions in a batch.
        augment: Whether the pictures of a batch are shifted, by the same few pixels.
        seed: Decides order and shifts.
    """

    def __init__(self, source: Features, numbers, ids, batch_size, augment=False, seed=0):
        self.source = source
        self.numbers, self.ids = numbers, ids
        self.batch_size = batch_size
        self.augment = augment
        self.seed = seed
        lengths = np.sum(ids != PAD, axis=1)
        shares = np.quantile(lengths, [1 / 3, 2 / 3, 1], method="higher")
        self.widths = sorted({int(width) for width in shares})
        counts = np.bincount(np.searchsorted(self.widths, lengths), minlength=len(self.widths))
        self.steps = int(np.ceil(counts / batch_size).sum())

    def epoch(self, number) -> tf.data.Dataset:
        """The batches of one epoch. They depend on the seed and the number alone."""
        pairs = tf.data.Dataset.from_tensor_slices((self.numbers, self.ids)).shuffle(
            len(self.ids), seed=self.seed + number, reshuffle_each_iteration=False
        )
        seeds = tf.data.Dataset.range(self.steps).map(
            lambda step: tf.stack([self.seed + number, step])
        )
        batches = tf.data.Dataset.zip(self._bucketed(pairs), seeds)
        return batches.map(self._look_up, num_parallel_calls=2)

    def epochs(self, first: int, last: int) -> tf.data.Dataset:
        """The epochs from `first` up to, but not with, `last`."""
        numbers = tf.data.Dataset.range(first, last)
        return numbers.flat_map(self.epoch).prefetch(4)

    def _bucketed(self, pairs):
        batches = pairs.map(lambda number, ids: (number, ids[: tf.math.count_nonzero(ids)]))
        batches = batches.bucket_by_sequence_length(
            lambda _, ids: tf.size(ids),
            bucket_boundaries=[width + 1 for width in self.widths],
            bucket_batch_sizes=[self.batch_size] * (len(self.widths) + 1),
            pad_to_bucket_boundary=True,
        )

        def fill(numbers, ids):
            missing = self.batch_size - tf.shape(ids)[0]
            ids = tf.pad(ids, [[0, missing], [0, 0]])
            others = tf.range(missing, dtype=numbers.dtype) * (len(self.source) // self.batch_size)
            return (
                tf.ensure_shape(tf.concat([numbers, others], axis=0), (self.batch_size,)),
                tf.ensure_shape(ids, (self.batch_size, None)),
            )

        return batches.map(fill)

    def _look_up(self, pairs, seed):
        numbers, ids = pairs
        rows = tf.numpy_function(self.source.take, [numbers], self.source.dtype)
        rows = tf.ensure_shape(rows, (self.batch_size, *self.source.shape))
        if self.augment:
            around = [[0, 0], [SHIFT, SHIFT], [SHIFT, SHIFT], [0, 0]]
            rows = tf.image.stateless_random_crop(
                tf.pad(rows, around, "SYMMETRIC"), (self.batch_size, *self.source.shape), seed
            )
        written = ids[:, 1:]
        # [END] is not read: hard attention would draw, and pay for, one place more.
        read = tf.where(written == PAD, PAD, ids[:, :-1])
        return (tf.cast(rows, tf.float32), read), written
