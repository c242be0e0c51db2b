"""Bahdanau's decoder: it looks first, with the state before the step, and then moves the cell."""

from typing import final

import keras
from keras import ops

from keras_attention._internal import rnn
from keras_attention._internal.serialization import deserialize
from keras_attention.decoders import teacher_forcing
from keras_attention.decoders.base import AttentionDecoder, Widths
from keras_attention.decoders.deep_output import DeepOutput


@final
@keras.saving.register_keras_serializable("keras_attention")
class BahdanauDecoder(AttentionDecoder):
    """A recurrent decoder whose cell reads the context beside the last word.

        c_t = attention(s_{t-1}, memory)                                   (eq. 5-6)
        s_t = f([y_{t-1}; c_t], s_{t-1})                                   (section 3.1)

    The output is s_t, what the cell gives, or with `readout` what that makes of [s_t; y_{t-1}; c_t]
    (eq. 4): the softmax over the words is a layer after the decoder. The query s_{t-1} is the
    hidden state of the cell, the topmost one of `keras.layers.StackedRNNCells`.

    Args:
        cell: Any Keras RNN cell, or `keras.layers.StackedRNNCells`.
        attention: An attention layer, such as `ka.BahdanauAttention(units)`.
        readout: A layer of state, inputs and context, such as `ka.DeepOutput(units)`. It works
            after the loop, on all steps at once.
        return_state: Whether the call returns the cell's last states too.
        return_attention_scores: Whether the call returns the weights too.

    Call arguments, Returns, Masking: see `AttentionDecoder`.

    Example:

    >>> decoder = ka.BahdanauDecoder(keras.layers.GRUCell(13), ka.BahdanauAttention(7))
    >>> tuple(decoder(np.ones((2, 3, 5)), np.ones((2, 11, 17))).shape)
    (2, 3, 13)

    Reference: Bahdanau, Cho, Bengio 2015, "Neural Machine Translation by Jointly Learning to Align
    and Translate", arXiv:1409.0473, section 3.1.
    """

    def __init__(
        self,
        cell,
        attention,
        readout=None,
        return_state=False,
        return_attention_scores=False,
        **kwargs,
    ):
        super().__init__(cell, attention, return_state, return_attention_scores, **kwargs)
        self.readout = deserialize(readout)
        if readout is not None and not isinstance(self.readout, DeepOutput):
            raise ValueError(
                f"`readout` is {readout!r}; expected None or a readout of this library, such as "
                "ka.DeepOutput(256)."
            )

    def move(self, inputs, state, noise):
        context, weights, attention_state = self.attention.step(
            self._hidden(state["cell"]), state["memory"], state["attention"], noise
        )
        cell_inputs = ops.concatenate([inputs, context], axis=-1)
        output, cell_state = rnn.call_cell(self.cell, cell_inputs, state["cell"])
        emitted = output if self.readout is None else ops.concatenate([output, context], axis=-1)
        return emitted, weights, {**state, "cell": cell_state, "attention": attention_state}

    def read(self, emitted, inputs):
        if self.readout is None:
            return emitted
        width = rnn.output_size(self.cell)
        return self.readout(emitted[..., :width], inputs, emitted[..., width:])

    def move_all(self, inputs, state, noise, inputs_mask, widths):
        return teacher_forcing.move_along(self, inputs, state, noise, inputs_mask, widths)

    def initial_feedback(self, batch_size, widths):
        return {}

    def widths(self, context_dim):
        hidden = self._hidden(rnn.initial_cell_state(self.cell, 1))
        cell_width = rnn.output_size(self.cell)
        plain = self.readout is None
        return Widths(
            joining=context_dim,
            query=hidden.shape[-1],
            emitted=cell_width if plain else cell_width + context_dim,
            output=cell_width if plain else self.readout.units,
        )

    def build_output(self, inputs_width, context_dim, widths):
        if self.readout is not None and not self.readout.built:
            state_width = rnn.output_size(self.cell)
            shapes = ((None, None, width) for width in (state_width, inputs_width, context_dim))
            self.readout.build(*shapes)

    def get_config(self):
        readout = self.readout
        if readout is not None:
            readout = keras.saving.serialize_keras_object(readout)
        return {**super().get_config(), "readout": readout}

    def _hidden(self, cell_state):
        stacked = isinstance(self.cell, keras.layers.StackedRNNCells)
        return keras.tree.flatten(cell_state[-1] if stacked else cell_state)[0]
