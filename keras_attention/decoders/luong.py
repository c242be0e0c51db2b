"""Luong's decoder: it moves the cell first, and looks with the new state."""

from typing import final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import rnn, validation
from keras_attention.decoders import teacher_forcing
from keras_attention.decoders.base import AttentionDecoder, Widths


@final
@keras.saving.register_keras_serializable("keras_attention")
class LuongDecoder(AttentionDecoder):
    """A recurrent decoder with an attentional vector, which input feeding hands to the next step.

        h_t = f([y_{t-1}; h~_{t-1}], h_{t-1})      with input feeding          (section 3.3)
        h_t = f(y_{t-1}, h_{t-1})                  without
        c_t = attention(h_t, memory)
        h~_t = tanh(W_c [c_t; h_t])                                            (eq. 5)

    The output is h~_t, and h~_0 is zero. Without input feeding no step waits for the attention of
    the one before: the cell runs as a fused Keras layer where there is one, and all steps attend in
    one call.

    Args:
        cell: Any Keras RNN cell, or `keras.layers.StackedRNNCells`.
        attention: An attention layer, such as `ka.LuongAttention("general")`.
        attention_layer_size: Width of h~_t. None: no attention layer, h~_t = c_t, which is how
            TensorFlow Addons' `AttentionWrapper` reads it.
        input_feeding: Whether h~_{t-1} joins the input of the cell.
        return_state: Whether the call returns the cell's last states too.
        return_attention_scores: Whether the call returns the weights too.

    Call arguments, Returns, Masking: see `AttentionDecoder`.

    Example:

    >>> decoder = ka.LuongDecoder(
    ...     keras.layers.LSTMCell(13), ka.LuongAttention("general"), attention_layer_size=7
    ... )
    >>> tuple(decoder(np.ones((2, 3, 5)), np.ones((2, 11, 17))).shape)
    (2, 3, 7)

    Reference: Luong, Pham, Manning 2015, "Effective Approaches to Attention-based Neural Machine
    Translation", arXiv:1508.04025, section 3.
    """

    def __init__(
        self,
        cell,
        attention,
        attention_layer_size=None,
        input_feeding=True,
        return_state=False,
        return_attention_scores=False,
        **kwargs,
    ):
        super().__init__(cell, attention, return_state, return_attention_scores, **kwargs)
        self.attention_layer_size = attention_layer_size
        self.input_feeding = input_feeding
        if not input_feeding:
            self.recurrent_layer = _layer_of(self.cell)
        self.attention_layer = None
        if attention_layer_size is not None:
            self.attention_layer = keras.layers.Dense(
                validation.positive_integer("attention_layer_size", attention_layer_size),
                activation="tanh",
                use_bias=False,
                name="attention_layer",
                dtype=self.dtype_policy,
            )

    def move(self, inputs, state, noise):
        if self.input_feeding:
            inputs = ops.concatenate([inputs, state["attentional"]], axis=-1)
        hidden, cell_state = rnn.call_cell(self.cell, inputs, state["cell"])
        context, weights, attention_state = self.attention.step(
            hidden, state["memory"], state["attention"], noise
        )
        attentional = self._attentional(context, hidden)
        next_state = {**state, "cell": cell_state, "attention": attention_state}
        if self.input_feeding:
            next_state["attentional"] = attentional
        return attentional, weights, next_state

    def move_all(self, inputs, state, noise, inputs_mask, widths):
        if self.input_feeding or self.attention.sequential:
            return teacher_forcing.move_along(self, inputs, state, noise, inputs_mask, widths)
        hidden, *cell_state = self.recurrent_layer(
            inputs, initial_state=state["cell"], mask=inputs_mask
        )  # (B, T, H)
        context, weights, attention_state = self.attention.attend(
            hidden, state["memory"], state["attention"], noise, masks.combine(inputs_mask)
        )
        cell_state = keras.tree.pack_sequence_as(state["cell"], keras.tree.flatten(cell_state))
        state = {**state, "cell": cell_state, "attention": attention_state}
        return self._attentional(context, hidden), weights, state

    def initial_feedback(self, batch_size, widths):
        if not self.input_feeding:
            return {}
        zeros = ops.zeros((batch_size, widths.output), dtype=self.compute_dtype)
        return {"attentional": zeros}

    def widths(self, context_dim):
        output_width = self.attention_layer_size or context_dim
        return Widths(
            joining=output_width if self.input_feeding else 0,
            query=rnn.output_size(self.cell),
            emitted=output_width,
            output=output_width,
        )

    def read(self, emitted, inputs):
        return emitted

    def build_output(self, inputs_width, context_dim, widths):
        if self.attention_layer is not None and not self.attention_layer.built:
            self.attention_layer.build((None, context_dim + widths.query))

    def get_config(self):
        return {
            **super().get_config(),
            "attention_layer_size": self.attention_layer_size,
            "input_feeding": self.input_feeding,
        }

    def _attentional(self, context, hidden):
        if self.attention_layer is None:
            return context
        return self.attention_layer(ops.concatenate([context, hidden], axis=-1))


def _layer_of(cell):
    """Returns the Keras layer that runs `cell`: the fused one for a GRU or LSTM cell."""
    options = {"return_sequences": True, "return_state": True}
    for cell_class, layer_class in (
        (keras.layers.GRUCell, keras.layers.GRU),
        (keras.layers.LSTMCell, keras.layers.LSTM),
    ):
        if type(cell) is cell_class:
            layer = layer_class(**{**cell.get_config(), "name": "recurrent_layer"}, **options)
            layer.cell = cell
            return layer
    return keras.layers.RNN(cell, dtype=cell.dtype_policy, name="recurrent_layer", **options)
