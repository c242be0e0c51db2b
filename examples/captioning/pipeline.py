"""Captions to batches of ids, with the rows of their pictures, which are ready on disk."""

from typing import final

import numpy as np
import tensorflow as tf

from examples.captioning.data import Picture
from examples.captioning.features import Features
from examples.captioning.tokenizer import Tokenizer
from examples.common import batches
from examples.common.special import END, PAD, START

SHAPES = 3


def encode(pictures: list[Picture], tokenizer: Tokenizer, limit: int) -> tuple[np.ndarray, ...]:
    """Every caption of every picture: the picture's number (N,), and the ids (N, T), padded.

    A row is [START], the ids of at most `limit` words or pieces, [END].
    """
    pairs = [(number, text) for number, picture in enumerate(pictures) for text in picture.captions]
    start, end = (tf.fill((len(pairs), 1), special) for special in (START, END))
    pieces = tokenizer.encode([text for _, text in pairs])[:, :limit]
    ids = tf.concat([start, pieces, end], axis=1).to_tensor(PAD)
    return np.array([number for number, _ in pairs]), ids.numpy()


@final
class Batches(batches.Batches):
    """Training batches ((source, target_in), target_out) of captions and their pictures.

    The last batch of a bucket is filled up with empty captions, which no loss or metric counts, of
    different pictures: batch normalization counts those.

    Args:
        source: The pictures' pixels or features.
        numbers: (N,), the picture of each caption.
        ids: (N, T), the captions.
        batch_size: Captions in a batch.
        shift: By how many pixels the pictures of a batch, all alike, are shifted at most.
        flip: Whether half of the pictures are mirrored.
        seed: Decides order, shifts and mirrors.
    """

    def __init__(self, source: Features, numbers, ids, batch_size, shift=0, flip=False, seed=0):
        self.source, self.numbers, self.ids = source, numbers, ids
        self.shift, self.flip = shift, flip
        self.batch_size = batch_size
        captions = tf.data.Dataset.from_tensor_slices((numbers, ids)).map(
            lambda number, ids: (number, ids[: tf.math.count_nonzero(ids)])
        )

        def elements(seed):
            if seed is None:
                return captions
            return captions.shuffle(len(ids), seed, reshuffle_each_iteration=False)

        steps = np.sum(ids != PAD, axis=1) - 1
        super().__init__(elements, np.bincount(steps)[None], SHAPES, lambda *_: batch_size, seed)

    def finish(self, batches, seed):
        seeds = tf.data.Dataset.range(self.steps).map(lambda step: tf.stack([seed, step]))
        return tf.data.Dataset.zip(batches, seeds).map(self._look_up, num_parallel_calls=2)

    def _look_up(self, captions, seed):
        (numbers, target_in), target_out = captions
        count = tf.math.count_nonzero(target_in[:, 0], dtype=numbers.dtype)
        beyond = tf.range(self.batch_size, dtype=numbers.dtype) - count
        others = beyond * (len(self.source) // self.batch_size)
        numbers = tf.where(beyond < 0, numbers, others)
        rows = tf.numpy_function(self.source.take, [numbers], self.source.dtype)
        rows = tf.ensure_shape(rows, (self.batch_size, *self.source.shape))
        if self.flip:
            rows = tf.image.stateless_random_flip_left_right(rows, seed)
        if self.shift:
            around = [[0, 0], [self.shift] * 2, [self.shift] * 2, [0, 0]]
            rows = tf.image.stateless_random_crop(
                tf.pad(rows, around, "SYMMETRIC"), (self.batch_size, *self.source.shape), seed
            )
        return (tf.cast(rows, tf.float32), target_in), target_out
