"""The bridge: a decoder's first state, from the mean of the encoder's outputs."""

import itertools
from collections.abc import Sequence
from typing import Any, final

import keras

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention.attention.base import flatten_spatial


@final
@keras.saving.register_keras_serializable("keras_attention")
class Bridge(keras.layers.Layer):
    """The decoder's first state, from the mean of the memory.

        s_0 = tanh(W mean_s(m_s) + b)

    with one W and b per state tensor of the cell. It needs no last state of an encoder, so that the
    memory may come from any layer, such as a network over images.

    Args:
        widths: The widths of the state tensors.

    Call arguments:
        memory: (B, S, D), or feature maps (B, H, W, D).
        mask: (B, S) or (B, H, W), the positions that the mean includes; without any it is zero.

    Returns:
        A list of tensors (B, width).

    Raises:
        ValueError: A width is not a positive integer, or the memory has another rank.

    Example:

    >>> [tuple(state.shape) for state in ka.models.Bridge([7, 5])(np.ones((2, 3, 11)))]
    [(2, 7), (2, 5)]

    References: Sennrich et al. 2017, "Nematus", arXiv:1703.04357, section 2; Xu et al. 2015,
    arXiv:1502.03044, section 3.1.2.
    """

    def __init__(self, widths: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widths = [validation.positive_integer("widths", width) for width in widths]
        self.projection = keras.layers.Dense(
            sum(self.widths), activation="tanh", name="projection", dtype=self.dtype_policy
        )
        self.supports_masking = True

    def build(self, memory_shape: Any) -> None:
        if len(memory_shape) not in (3, 4):
            raise ValueError(
                f"`memory` has shape {tuple(memory_shape)}; expected (batch, memory, width), or "
                "(batch, height, width, channels)."
            )
        if not self.projection.built:
            self.projection.build((memory_shape[0], memory_shape[-1]))

    def call(self, memory: Any, mask: Any = None) -> list:
        states = self.projection(masks.masked_mean(*flatten_spatial(memory, mask)))
        ends = itertools.accumulate(self.widths)
        return [states[:, end - width : end] for end, width in zip(ends, self.widths, strict=True)]

    def compute_mask(self, memory: Any, previous_mask: Any = None) -> None:
        return None

    def compute_output_shape(self, memory_shape: Any) -> list:
        return [(memory_shape[0], width) for width in self.widths]

    def get_config(self) -> dict:
        return {**super().get_config(), "widths": list(self.widths)}
