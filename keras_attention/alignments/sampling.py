"""Sampling with Gumbel noise, and the abstract alignment that samples.

The position with the largest sum of score and Gumbel noise is a sample from the softmax of the
scores. Since the noise is sampled before a loop, a step in the loop is a function of its arguments.
"""

import abc
from typing import Any

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal.typing import Config, Shape, Tensor
from keras_attention.alignments.base import Alignment


class SampledAlignment(Alignment, abc.ABC):
    """Abstract: all weight on one position, sampled in training, the most probable at inference."""

    @abc.abstractmethod
    def __init__(self, seed: int | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def get_config(self) -> Config:
        return {**super().get_config(), "seed": self.seed}


def gumbel_noise(shape: Shape, seed: Any, dtype: str) -> Tensor:
    """Returns samples of the standard Gumbel distribution, -log(-log(u))."""
    # Away from 0 and 1, whose logarithms are infinite or zero.
    uniform = keras.random.uniform(shape, 1e-7, 1 - 1e-7, dtype="float32", seed=seed)
    return ops.cast(-ops.log(-ops.log(uniform)), dtype)


def one_hot_argmax(energies: Tensor, mask: Tensor = None) -> Tensor:
    """Returns 1 at the first of the largest `energies` (B, T, S), and 0 elsewhere and where masked.

    The result has no gradient. Masked energies must already be small. A row that allows nothing is
    zero.
    """
    # Keras's argmax has no counterpart in ONNX and LiteRT.
    largest = ops.max(energies, axis=-1, keepdims=True, initial=masks.MASKED_SCORE)
    ones = ops.cast(energies >= largest, energies.dtype)
    first = ones * ops.cast(ops.cumsum(ones, axis=-1) < 1.5, energies.dtype)
    return first if mask is None else ops.where(ops.cast(mask, "bool"), first, 0.0)
