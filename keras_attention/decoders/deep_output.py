"""Deep output: from a decoder's state, last word and context to what the softmax reads."""

from typing import final

import keras
from keras import ops

from keras_attention._internal import validation


@final
@keras.saving.register_keras_serializable("keras_attention")
class DeepOutput(keras.layers.Layer):
    """A maxout layer over state, last word and context.

        t~_i = U_o s_i + V_o E y_{i-1} + C_o c_i + b                    (Bahdanau, appendix A.2.2)
        t_i,j = max{t~_i,2j-1, t~_i,2j}

    The softmax, with W_o, is a layer after it. Eq. 4 and the text of the appendix make the
    probability depend on s_i, as here; the formula for t~_i there has s_{i-1}. With one piece it is
    the linear sum L_h h_t + L_z z_t + E y_{t-1} of Xu 2015, eq. 7, with a matrix for the word too.

    The weights U_o, V_o, C_o are the rows of one kernel, that of `projection`, in this order.

    Args:
        units: Width of t.
        pieces: Linear pieces in each maximum: 2 in the paper, 1 for none.

    Call arguments:
        state: (B, T, Ds), s_i. Or all three without T.
        inputs: (B, T, Din), E y_{i-1}.
        context: (B, T, D), c_i.

    Returns:
        t, (B, T, units).

    Masking: position by position; no mask is read.

    Example:

    >>> cell, attention = keras.layers.GRUCell(13), ka.BahdanauAttention(7)
    >>> decoder = ka.BahdanauDecoder(cell, attention, readout=ka.DeepOutput(11))
    >>> tuple(decoder(np.ones((2, 3, 5)), np.ones((2, 19, 17))).shape)
    (2, 3, 11)

    References: Bahdanau, Cho, Bengio 2015, arXiv:1409.0473, appendix A.2.2; Xu et al. 2015,
    arXiv:1502.03044, eq. 7; Goodfellow et al. 2013, "Maxout Networks", arXiv:1302.4389.
    """

    def __init__(self, units, pieces=2, **kwargs):
        super().__init__(**kwargs)
        self.units = validation.positive_integer("units", units)
        self.pieces = validation.positive_integer("pieces", pieces)
        self.projection = keras.layers.Dense(
            self.units * self.pieces, name="projection", dtype=self.dtype_policy
        )
        self.supports_masking = True

    def build(self, state_shape, inputs_shape, context_shape):
        width = sum(shape[-1] for shape in (state_shape, inputs_shape, context_shape))
        if not self.projection.built:
            self.projection.build((*state_shape[:-1], width))

    def call(self, state, inputs, context):
        pieces = self.projection(ops.concatenate([state, inputs, context], axis=-1))
        shape = (*ops.shape(pieces)[:-1], self.units, self.pieces)
        return ops.max(ops.reshape(pieces, shape), axis=-1)  # (B, T, units)

    def compute_mask(self, state, previous_mask=None):
        return previous_mask

    def compute_output_shape(self, state_shape, inputs_shape, context_shape):
        return (*state_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "pieces": self.pieces}
