"""Bahdanau's decoder: it first attends with the previous state, then calls the cell."""

from collections.abc import Callable
from typing import Any, final

import keras
from keras import ops

from keras_attention._internal import rnn
from keras_attention._internal.serialization import serialize
from keras_attention.decoders.base import AttentionDecoder
from keras_attention.decoders.deep_output import get_readout
from keras_attention.decoders.dims import DecoderDims


@final
@keras.saving.register_keras_serializable("keras_attention")
class BahdanauDecoder(AttentionDecoder):
    """A recurrent decoder whose cell reads the context together with the last token.

        c_t = attention(s_{t-1}, memory)                                   (eq. 5-6)
        s_t = f([y_{t-1}; c_t], s_{t-1})                                   (section 3.1)

    The output is s_t, the output of the cell. With `readout`, it is the output of that layer for
    [s_t; y_{t-1}; c_t] (eq. 4). The softmax over the vocabulary is a separate layer after the
    decoder. The query s_{t-1} is the hidden state of the cell; with `keras.layers.StackedRNNCells`,
    it is that of the topmost cell.

    Args:
        cell: Any Keras RNN cell, or `keras.layers.StackedRNNCells`.
        attention: An attention layer, such as `ka.BahdanauAttention(units)`.
        readout: None, or a `ka.DeepOutput` that reads the state, the inputs and the context. It
            runs after the loop, on all steps at once.
        return_state: Whether the call returns the cell's last states too.
        return_attention_scores: Whether the call returns the attention weights too.

    Call arguments, Returns, Masking: see `call`.

    Raises:
        ValueError: If `cell`, `attention` or `readout` is of another class; or, in a call, if a
            shape does not fit.

    Example:

    >>> decoder = ka.BahdanauDecoder(keras.layers.GRUCell(13), ka.BahdanauAttention(7))
    >>> tuple(decoder(np.ones((2, 3, 5)), np.ones((2, 11, 17))).shape)
    (2, 3, 13)

    Reference: Bahdanau, Cho, Bengio 2015, "Neural Machine Translation by Jointly Learning to Align
    and Translate", arXiv:1409.0473, section 3.1.
    """

    def __init__(
        self,
        cell: Any,
        attention: Any,
        readout: Any = None,
        return_state: bool = False,
        return_attention_scores: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, attention, return_state, return_attention_scores, **kwargs)
        self.readout = get_readout(readout)

    def _step(self, inputs: Any, state: dict, attend: Callable) -> tuple:
        query = self._hidden_state(state["cell"])
        context, weights, attention_state = attend(query, state=state["attention"])
        cell_inputs = ops.concatenate([inputs, context], axis=-1)
        output, cell_state = self._call_cell(cell_inputs, state["cell"])
        if self.readout is not None:
            output = ops.concatenate([output, context], axis=-1)
        return output, weights, {**state, "cell": cell_state, "attention": attention_state}

    def _readout(self, step_output: Any, inputs: Any) -> Any:
        if self.readout is None:
            return step_output
        cell_dim = rnn.output_size(self.cell)
        return self.readout(step_output[..., :cell_dim], inputs, step_output[..., cell_dim:])

    def _dims(self, context_dim: int) -> DecoderDims:
        output_dim = rnn.output_size(self.cell)
        if self.readout is not None:
            output_dim = self.readout.units
        return DecoderDims(
            extra_input=context_dim,
            query=self._hidden_state(rnn.state_sizes(self.cell)),
            output=output_dim,
        )

    def _build_readout(self, context_dim: int) -> None:
        if self.readout is not None and not self.readout.built:
            parts = (rnn.output_size(self.cell), self.inputs_dim, context_dim)
            self.readout.build(*((None, None, dim) for dim in parts))

    def get_config(self) -> dict:
        return {**super().get_config(), "readout": serialize(self.readout)}

    def _hidden_state(self, cell_state: Any) -> Any:
        """Returns the topmost hidden state, of the states of the cell or of their sizes."""
        stacked = isinstance(self.cell, keras.layers.StackedRNNCells)
        return keras.tree.flatten(cell_state[-1] if stacked else cell_state)[0]
