"""The bridge: the decoder's first state, from the encoder's output."""

import itertools
from typing import final

import keras

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention.attention.base import flatten_spatial


@final
@keras.saving.register_keras_serializable("keras_attention")
class Bridge(keras.layers.Layer):
    """The decoder's first state, from the mean of the memory.

        s_0 = tanh(W mean_s(m_s) + b)

    one W and b per state tensor of the cell. It needs no last state, so anything that gives a
    memory can be the encoder, images included.

    Args:
        widths: The widths of the state tensors.

    Call arguments:
        memory: (B, S, D), or a map (B, H, W, D).
        mask: (B, S) or (B, H, W), the positions that the mean runs over. The mean of nothing is
            zero.

    Returns:
        A list of tensors (B, width).

    Example:

    >>> [tuple(state.shape) for state in ka.models.Bridge([7, 5])(np.ones((2, 3, 11)))]
    [(2, 7), (2, 5)]

    References: Sennrich et al. 2017, "Nematus", arXiv:1703.04357, section 2; Xu et al. 2015,
    arXiv:1502.03044, section 3.1.2.
    """

    def __init__(self, widths, **kwargs):
        super().__init__(**kwargs)
        self.widths = [validation.positive_integer("widths", width) for width in widths]
        self.projection = keras.layers.Dense(
            sum(self.widths), activation="tanh", name="projection", dtype=self.dtype_policy
        )
        self.supports_masking = True

    def build(self, memory_shape):
        if len(memory_shape) not in (3, 4):
            raise ValueError(
                f"`memory` has shape {tuple(memory_shape)}; expected (batch, memory, width), or "
                "(batch, height, width, channels)."
            )
        if not self.projection.built:
            self.projection.build((memory_shape[0], memory_shape[-1]))

    def call(self, memory, mask=None):
        states = self.projection(masks.masked_mean(*flatten_spatial(memory, mask)))
        ends = itertools.accumulate(self.widths)
        return [states[:, end - width : end] for end, width in zip(ends, self.widths, strict=True)]

    def compute_mask(self, memory, previous_mask=None):
        return None

    def compute_output_shape(self, memory_shape):
        return [(memory_shape[0], width) for width in self.widths]

    def get_config(self):
        return {**super().get_config(), "widths": list(self.widths)}
