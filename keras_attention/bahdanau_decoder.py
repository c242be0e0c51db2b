"""Bahdanau's decoder: it looks first, with the state before the step, and then moves the cell."""

from typing import final

import keras
from keras import ops

from keras_attention import recurrence
from keras_attention.decoder import AttentionDecoder, Widths, call_cell, move_along


@final
@keras.saving.register_keras_serializable("keras_attention")
class BahdanauDecoder(AttentionDecoder):
    """A recurrent decoder whose cell reads the context beside the last word.

        c_t = attention(s_{t-1}, memory)                                   (eq. 5-6)
        s_t = f([y_{t-1}; c_t], s_{t-1})                                   (section 3.1)

    The output is that of the cell. The query s_{t-1} is the hidden state of the cell, the topmost
    one of `keras.layers.StackedRNNCells`.

    Args:
        cell: Any Keras RNN cell, or `keras.layers.StackedRNNCells`.
        attention: An attention layer, such as `ka.BahdanauAttention(units)`.
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
        self, cell, attention, return_state=False, return_attention_scores=False, **kwargs
    ):
        super().__init__(cell, attention, return_state, return_attention_scores, **kwargs)

    def move(self, inputs, state, noise):
        context, weights, attention_state = self.attention.step(
            self._hidden(state["cell"]), state["memory"], state["attention"], noise
        )
        cell_inputs = ops.concatenate([inputs, context], axis=-1)
        output, cell_state = call_cell(self.cell, cell_inputs, state["cell"])
        return output, weights, {**state, "cell": cell_state, "attention": attention_state}

    def move_all(self, inputs, state, noise, inputs_mask):
        return move_along(self, inputs, state, noise, inputs_mask)

    def initial_feedback(self, memory):
        return {}

    def widths(self, memory_width):
        hidden = self._hidden(recurrence.zero_state(self.cell, 1))
        return Widths(
            joining=memory_width,
            query=hidden.shape[-1],
            output=recurrence.output_size(self.cell),
        )

    def build_output(self, widths, memory_width):
        pass  # The output is the cell's.

    def _hidden(self, cell_state):
        stacked = isinstance(self.cell, keras.layers.StackedRNNCells)
        return keras.tree.flatten(cell_state[-1] if stacked else cell_state)[0]
