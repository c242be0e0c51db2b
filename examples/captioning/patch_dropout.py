"""Captions are learned from some of the places of a picture, which regularizes and takes less time.

Reference: Liu et al. 2023, "PatchDropout: Economizing Vision Transformers Using Patch Dropout",
arXiv:2208.07220.
"""

from typing import final

import keras
from keras import ops


@final
@keras.saving.register_keras_serializable("captioning")
class PatchDropout(keras.layers.Layer):
    """In training a map (B, H, W, C) has fewer rows, of places drawn anew for each batch.

    All pictures of a batch keep the same places. Nothing is scaled: attention and the mean do not
    depend on how many places there are.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, maps, training=None):
        if not training or not self.rate:
            return maps
        batch_size, height, width, channels = ops.shape(maps)
        rows = max(1, round((1 - self.rate) * height))
        places = keras.random.shuffle(ops.arange(height * width), seed=self.seed_generator)
        flat = ops.reshape(maps, (batch_size, height * width, channels))
        kept = ops.take(flat, places[: rows * width], axis=1)
        return ops.reshape(kept, (batch_size, rows, width, channels))

    def compute_output_shape(self, maps_shape):
        return maps_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
