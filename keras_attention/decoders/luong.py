"""Luong's decoder: it first calls the cell, then attends with the new state."""

from collections.abc import Callable
from typing import Any, final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import rnn, validation
from keras_attention._internal.serialization import serialize
from keras_attention.decoders.base import AttentionDecoder
from keras_attention.decoders.deep_output import get_readout
from keras_attention.decoders.dims import DecoderDims


@final
@keras.saving.register_keras_serializable("keras_attention")
class LuongDecoder(AttentionDecoder):
    """A recurrent decoder whose attentional vector is fed to the next step (input feeding).

        h_t = f([y_{t-1}; h~_{t-1}], h_{t-1})      with input feeding          (section 3.3)
        h_t = f(y_{t-1}, h_{t-1})                  without
        c_t = attention(h_t, memory)
        h~_t = tanh(W_c [c_t; h_t])                                            (eq. 5)

    The output is h~_t, and h~_0 is zero. With `readout`, that layer's output for [h_t; y_{t-1};
    c_t] replaces h~_t, also in the input of the next step. Without input feeding, no step depends
    on the attention of the previous step. Then a GRU or LSTM cell runs as Keras's fused layer, and
    all steps attend in one call, unless the attention itself is sequential.

    Args:
        cell: Any Keras RNN cell, or `keras.layers.StackedRNNCells`.
        attention: An attention layer, such as `ka.LuongAttention("general")`.
        attention_layer_size: Width of h~_t. With None there is no attention layer and h~_t = c_t,
            as in TensorFlow Addons' `AttentionWrapper`.
        input_feeding: Whether h~_{t-1} is concatenated to the input of the cell.
        return_state: Whether the call returns the cell's last states too.
        return_attention_scores: Whether the call returns the attention weights too.
        readout: None, or a `ka.DeepOutput` that reads the state, the inputs and the context. It
            replaces the attention layer.

    Call arguments, Returns, Masking: see `call`.

    Raises:
        ValueError: If `cell`, `attention` or `readout` is of another class, `attention_layer_size`
            is not a positive integer, or both it and `readout` are given; or, in a call, if a shape
            does not fit.

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
        cell: Any,
        attention: Any,
        attention_layer_size: int | None = None,
        input_feeding: bool = True,
        return_state: bool = False,
        return_attention_scores: bool = False,
        readout: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, attention, return_state, return_attention_scores, **kwargs)
        self.attention_layer_size = attention_layer_size
        self.input_feeding = input_feeding
        if not input_feeding:
            self.recurrent_layer = _fused_rnn(self.cell)
        self.readout = get_readout(readout)
        if readout is not None and attention_layer_size is not None:
            raise ValueError(
                f"`attention_layer_size` is {attention_layer_size} and `readout` is {readout!r}; "
                "expected one of them at most, as both make the output."
            )
        self.attention_layer = None
        if attention_layer_size is not None:
            self.attention_layer = keras.layers.Dense(
                validation.positive_integer("attention_layer_size", attention_layer_size),
                activation="tanh",
                use_bias=False,
                name="attention_layer",
                dtype=self.dtype_policy,
            )

    def _step(self, inputs: Any, state: dict, attend: Callable) -> tuple:
        cell_inputs = inputs
        if self.input_feeding:
            cell_inputs = ops.concatenate([inputs, state["attentional_vector"]], axis=-1)
        hidden, cell_state = self._call_cell(cell_inputs, state["cell"])
        context, weights, attention_state = attend(hidden, state=state["attention"])
        attentional_vector = self._attentional_vector(hidden, inputs, context)
        next_state = {**state, "cell": cell_state, "attention": attention_state}
        if self.input_feeding:
            next_state["attentional_vector"] = attentional_vector
        return attentional_vector, weights, next_state

    def _unroll(
        self, inputs: Any, state: dict, noise: Any, inputs_mask: Any, feedback: Any = None
    ) -> tuple:
        if self.input_feeding or self.attention.sequential or feedback is not None:
            return super()._unroll(inputs, state, noise, inputs_mask, feedback)
        hidden, cell_state = self._run_cell(inputs, state["cell"], inputs_mask)  # (B, T, H)
        context, weights, attention_state = self.attention.attend(
            hidden, state["memory"], state["attention"], noise, masks.combine(inputs_mask)
        )
        cell_state = keras.tree.pack_sequence_as(state["cell"], keras.tree.flatten(cell_state))
        state = {**state, "cell": cell_state, "attention": attention_state}
        return self._attentional_vector(hidden, inputs, context), weights, state

    def _run_cell(self, inputs: Any, state: Any, mask: Any) -> tuple:
        """Returns the states of all steps, and the last one.

        cuDNN takes no row without a step. A fully masked one gets its first step, whose results are
        dropped: its outputs are zeros, and its state stays.
        """
        if mask is None:
            return rnn.run_loop(self.recurrent_layer, inputs, state)
        mask = ops.cast(mask, "bool")
        empty = ops.logical_not(ops.any(mask, axis=1, keepdims=True))  # (B, 1)
        first = ops.equal(ops.arange(ops.shape(mask)[1]), 0)  # (T,)
        mask = ops.logical_or(mask, ops.logical_and(empty, first))
        hidden, last = rnn.run_loop(self.recurrent_layer, inputs, state, mask)
        hidden = ops.where(ops.expand_dims(empty, 2), ops.zeros((), hidden.dtype), hidden)
        leaves = zip(keras.tree.flatten(last), keras.tree.flatten(state), strict=True)
        return hidden, [ops.where(empty, ops.cast(old, new.dtype), new) for new, old in leaves]

    def _initial_input_feed(self, memory: Any) -> dict:
        if not self.input_feeding:
            return {}
        batch_size = ops.shape(keras.tree.flatten(memory)[0])[0]
        shape = (batch_size, self.dims.output)
        return {"attentional_vector": ops.zeros(shape, dtype=self.compute_dtype)}

    def _dims(self, context_dim: int) -> DecoderDims:
        output_dim = self.attention_layer_size or context_dim
        if self.readout is not None:
            output_dim = self.readout.units
        return DecoderDims(
            extra_input=output_dim if self.input_feeding else 0,
            query=rnn.output_size(self.cell),
            output=output_dim,
        )

    def _build_readout(self, context_dim: int) -> None:
        if self.attention_layer is not None and not self.attention_layer.built:
            self.attention_layer.build((None, context_dim + self.dims.query))
        if self.readout is not None and not self.readout.built:
            parts = (self.dims.query, self.inputs_dim, context_dim)
            self.readout.build(*((None, None, dim) for dim in parts))

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "attention_layer_size": self.attention_layer_size,
            "input_feeding": self.input_feeding,
            "readout": serialize(self.readout),
        }

    def _attentional_vector(self, hidden: Any, inputs: Any, context: Any) -> Any:
        if self.readout is not None:
            return self.readout(hidden, inputs, context)
        if self.attention_layer is None:
            return context
        return self.attention_layer(ops.concatenate([context, hidden], axis=-1))


def _fused_rnn(cell: Any) -> keras.layers.Layer:
    """Returns the Keras layer that runs `cell`: the fused one for a GRU or LSTM cell."""
    options = {"return_sequences": True, "return_state": True}
    for cell_class, layer_class in (
        (keras.layers.GRUCell, keras.layers.GRU),
        (keras.layers.LSTMCell, keras.layers.LSTM),
    ):
        if type(cell) is cell_class:
            layer = layer_class(**{**cell.get_config(), "name": "recurrent_layer"}, **options)
            layer._layers.remove(layer.cell)  # Keras would keep the one that it made
            layer.cell = cell
            return layer
    return keras.layers.RNN(cell, dtype=cell.dtype_policy, name="recurrent_layer", **options)
