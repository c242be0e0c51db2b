"""Deep output: maps a decoder's state, last token and context to the input of the softmax."""

import math
from typing import Any, final

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.serialization import deserialize
from keras_attention._internal.sublayers import SavedSublayers


@final
@keras.saving.register_keras_serializable("keras_attention")
class DeepOutput(SavedSublayers):
    """A maxout layer over a decoder's state, last token and context.

        t~_i = U_o s_i + V_o E y_{i-1} + C_o c_i + b              (Bahdanau, appendix A.2.2)
        t_i,j = max{t~_i,2j-1, t~_i,2j}

    The softmax, with its matrix W_o, is a separate layer that follows. In eq. 4 and in the text of
    the appendix, the probability depends on s_i, as it does here; only the appendix's formula for
    t~_i has s_{i-1}. With `pieces` = 1 the layer computes the linear sum L_h h_t + L_z z_t + E
    y_{t-1} of Xu 2015, eq. 7, but with a matrix for the token too.

    U_o, V_o and C_o are, in this order, the rows of one matrix, the kernel of `projection`. b is
    its bias.

    Args:
        units: Width of t.
        pieces: Number of linear pieces in each maximum. The paper uses 2; with 1 there is no
            maximum.

    Call arguments:
        state: (B, T, Ds), s_i. For one step, all three inputs lack the axis T.
        inputs: (B, T, Din), E y_{i-1}.
        context: (B, T, D), c_i.

    Returns:
        t, (B, T, units).

    Masking: masks have no effect, since each step is computed by itself. The mask of the state is
    passed on.

    Raises:
        ValueError: If `units` or `pieces` is not a positive integer.

    Example:

    >>> cell, attention = keras.layers.GRUCell(13), ka.BahdanauAttention(7)
    >>> decoder = ka.BahdanauDecoder(cell, attention, readout=ka.DeepOutput(11))
    >>> tuple(decoder(np.ones((2, 3, 5)), np.ones((2, 19, 17))).shape)
    (2, 3, 11)

    References: Bahdanau, Cho, Bengio 2015, arXiv:1409.0473, appendix A.2.2; Xu et al. 2015,
    arXiv:1502.03044, eq. 7; Goodfellow et al. 2013, "Maxout Networks", arXiv:1302.4389.
    """

    def __init__(self, units: int, pieces: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = validation.positive_integer("units", units)
        self.pieces = validation.positive_integer("pieces", pieces)
        self.projection = keras.layers.Dense(
            self.units * self.pieces, name="projection", dtype=self.dtype_policy
        )
        self.supports_masking = True

    def build(self, state_shape: Any, inputs_shape: Any, context_shape: Any) -> None:
        dim = sum(shape[-1] for shape in (state_shape, inputs_shape, context_shape))
        if not self.projection.built:
            self.projection.build((*state_shape[:-1], dim))

    def call(self, state: Any, inputs: Any, context: Any) -> Any:
        pieces = self.projection(ops.concatenate([state, inputs, context], axis=-1))
        shape = (*ops.shape(pieces)[:-1], self.units, self.pieces)
        # `initial`: Keras refuses the maximum of an empty tensor without one.
        return ops.max(ops.reshape(pieces, shape), axis=-1, initial=-math.inf)  # (B, T, units)

    def compute_output_shape(
        self, state_shape: Any, inputs_shape: Any, context_shape: Any
    ) -> tuple:
        return (*state_shape[:-1], self.units)

    def get_config(self) -> dict:
        return {**super().get_config(), "units": self.units, "pieces": self.pieces}


def get_readout(identifier: Any) -> DeepOutput | None:
    """Returns the readout that `identifier` stands for: None, a config or the layer itself."""
    readout = deserialize(identifier)
    if readout is not None and not isinstance(readout, DeepOutput):
        raise ValueError(f"`readout` is {identifier!r}; expected None or a ka.DeepOutput.")
    return readout
