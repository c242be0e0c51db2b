"""Draws by Gumbel noise, and the abstract alignment that makes them.

The place with the largest score plus Gumbel noise is a draw from the softmax of the scores: with
the noise drawn before a loop, a step inside of it is a function of its arguments.
"""

import abc

import keras
from keras import ops

from keras_attention.alignments.base import Alignment


class SampledAlignment(Alignment, abc.ABC):
    """Abstract: all weight on one position, drawn in training and the likeliest at inference."""

    sequential = False

    def __init__(self, seed, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def add_variables(self, query_width):
        pass

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


def gumbel_noise(shape, seed, dtype):
    """Returns draws from the standard Gumbel distribution, -log(-log(u))."""
    # Away from 0 and 1, whose logarithms are no numbers.
    uniform = keras.random.uniform(shape, 1e-7, 1 - 1e-7, dtype="float32", seed=seed)
    return ops.cast(-ops.log(-ops.log(uniform)), dtype)


def largest(energies, mask=None):
    """Returns 1 at the first of the largest `energies` (B, T, S), 0 elsewhere and where masked.

    No gradient passes. What is masked must be small already; a row that allows nothing is zero.
    """
    # Keras's argmax has no counterpart in ONNX and LiteRT.
    ones = ops.cast(energies >= ops.max(energies, axis=-1, keepdims=True), energies.dtype)
    first = ones * ops.cast(ops.cumsum(ones, axis=-1) < 1.5, energies.dtype)
    return first if mask is None else ops.where(ops.cast(mask, "bool"), first, 0.0)
