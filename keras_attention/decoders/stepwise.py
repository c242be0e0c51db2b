"""The protocol of a decoder, a recurrent cell that attends to a memory: `begin` and `step`.

`ka.search` calls them. Shapes: B batch, T target steps, S memory steps, D widths, O output width.
"""

import abc
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import ops

from keras_attention import search
from keras_attention._internal import rnn, validation
from keras_attention._internal.call_context import run_as_call
from keras_attention._internal.keras_masks import get_keras_mask
from keras_attention._internal.serialization import build_once, deserialize, serialize
from keras_attention._internal.sublayers import SavedSublayers
from keras_attention.attention.base import AttentionMechanism, validate_memory_mask
from keras_attention.decoders.dims import DecoderDims, memory_shapes, validate_inputs


def beam_invariant_state(state: Any) -> Any:
    """Returns the part of a decoder's state that all beams of an example share: its memory.

    It is empty if the attention has a state, since each beam then has a state of its own.
    """
    return () if keras.tree.flatten(state["attention"]) else state["memory"]


def unflatten_weights(weights: Any, state: dict) -> Any:
    """Returns weights (..., S) as (..., H, W), if the memory of this state is a feature map."""
    if "map" not in state:
        return weights
    return ops.reshape(weights, (*ops.shape(weights)[:-1], *ops.shape(state["map"])[1:3]))


class StepwiseDecoder(SavedSublayers, abc.ABC):
    """Abstract: a cell and an attention layer, which take one step after the other."""

    def __init__(
        self,
        cell: Any,
        attention: Any,
        return_state: bool,
        return_attention_scores: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cell = deserialize(cell)
        self.attention = deserialize(attention)
        if isinstance(self.cell, keras.layers.RNN) or not hasattr(self.cell, "state_size"):
            raise ValueError(
                f"`cell` is {cell!r}; expected a Keras RNN cell, such as "
                "keras.layers.GRUCell(256), or keras.layers.StackedRNNCells."
            )
        if not isinstance(self.attention, AttentionMechanism):
            raise ValueError(
                f"`attention` is {attention!r}; expected an attention layer of this library, "
                "such as ka.BahdanauAttention(256)."
            )
        self._has_dropout = rnn.has_dropout(self.cell)
        self.return_state = return_state
        self.return_attention_scores = return_attention_scores
        self.supports_masking = True

    @property
    def layers(self) -> list:
        """The attention layer, which `summary(expand_nested=True)` shows inside the decoder."""
        return [self.attention]

    @abc.abstractmethod
    def _step(self, inputs: Any, state: dict, attend: Callable) -> tuple:
        """Takes one step; returns the input of `_readout`, the weights and the next state.

        `attend` is `attention.step` over the memory: a function of a query (B, Dq) and of `state`,
        that of the attention, to the context (B, D), the weights (B, S) and the next state.
        """

    @abc.abstractmethod
    def _dims(self, context_dim: int) -> DecoderDims:
        """Returns the sizes that go with contexts of this size."""

    def _call_cell(self, inputs: Any, cell_state: Any) -> tuple:
        output, next_state = self.cell(inputs, cell_state)
        return output, keras.tree.pack_sequence_as(cell_state, keras.tree.flatten(next_state))

    def _initial_input_feed(self, memory: Any) -> dict:
        """Returns further parts of the first state, beside those of cell and attention."""
        return {}

    def _readout(self, step_output: Any, inputs: Any) -> Any:
        """Returns the output of one step, or the outputs of all steps after the loop."""
        return step_output

    def _build_readout(self, context_dim: int) -> None:
        """Builds the layers that follow the attention."""

    def build(self, inputs_shape: Any, memory_shape: Any, initial_state_shape: Any = None) -> None:
        self.attention.attention_shape(memory_shape)  # raises if it is not that of a memory
        validate_inputs(inputs_shape, memory_shape)
        batch_size, context_dim = inputs_shape[0], self.attention.context_dim(memory_shape)
        self.dims = self._dims(context_dim)
        self.inputs_dim = inputs_shape[-1]
        self._cell_inputs_dim = self.inputs_dim + self.dims.extra_input
        build_once(self.cell, (batch_size, self._cell_inputs_dim))
        build_once(self.attention, (batch_size, None, self.dims.query), memory_shape)
        self._build_readout(context_dim)

    def begin(
        self,
        memory: Any,
        memory_mask: Any = None,
        initial_state: Any = None,
        training: bool | None = None,
    ) -> dict:
        """Returns the state before the first step: a dict of nests of tensors, batch first.

        Feature maps are flattened to (B, H*W, D); the "map" (B, H, W, 0) keeps their height and
        width. With `training`, the state holds the dropout masks of the cell, which are the same
        for all steps. Without a `memory_mask`, the mask that Keras attached to the memory is used.
        """
        validation.not_symbolic("memory", memory, "begin")
        if memory_mask is None:
            memory_mask = keras.tree.map_structure(get_keras_mask, memory)
        memory = keras.tree.map_structure(
            lambda source: ops.convert_to_tensor(source, dtype=self.compute_dtype), memory
        )
        parts = keras.tree.flatten(memory)
        part_masks = memory_mask if isinstance(memory, (list, tuple)) else [memory_mask]
        if not isinstance(part_masks, (list, tuple)) or len(part_masks) != len(parts):
            raise ValueError(
                f"`memory_mask` is one mask; expected a list of {len(parts)}, one for each memory."
            )
        for part, mask in zip(parts, part_masks, strict=True):
            validate_memory_mask("memory_mask", mask, part.shape)
        is_map = len(self.attention.attention_shape(memory_shapes(memory))) == 2
        validation.built(self)
        prepared = self.attention.prepare(memory, value_mask=memory_mask)
        attention_state = self.attention.initial_state(prepared)
        cell_state = rnn.initial_cell_state(self.cell, ops.shape(parts[0])[0])
        if initial_state is not None:
            cell_state = rnn.pack_initial_state(cell_state, initial_state)
        state = {"cell": cell_state, "attention": attention_state, "memory": prepared}
        if is_map:
            state["map"] = memory[..., :0]
        if training and self._has_dropout:
            state["dropout"] = rnn.sample_dropout_masks(
                self.cell, ops.shape(parts[0])[0], self._cell_inputs_dim, self.compute_dtype
            )
        return {**state, **self._initial_input_feed(memory)}

    @search.shares_state(beam_invariant_state)
    def step(self, inputs: Any, state: dict, training: bool | None = None) -> tuple:
        """Takes one step, for search.

        Args:
            inputs: (B, Din). In beam search with K beams it is (B K, Din), and the state has B K
                rows. Its memory then has B rows if the attention has no state.
            state: What `begin` or the last step returned.
            training: Whether dropout is applied. If so, `begin` must have got `training=True` too.

        Returns:
            The output (B, O), the weights (B, S), or (B, H, W) over feature maps, and the next
            state.

        Raises:
            ValueError: If `training` is True, but the state lacks the dropout masks of the cell.
        """
        if training is None:
            return self._take_step(inputs, state)
        if training and self._has_dropout and "dropout" not in state:
            raise ValueError(
                "`training` is True, but `state` has no dropout masks; expected one of "
                "`begin(..., training=True)`."
            )
        return run_as_call(self, lambda _: self._take_step(inputs, state, training), training)

    def _take_step(self, inputs: Any, state: dict, training: bool | None = None) -> tuple:
        validation.built(self)
        shared = keras.tree.flatten(beam_invariant_state(state))
        attend = partial(self.attention.attend_beams, training=training)
        if not shared:
            noise = self.attention.sample_noise(1, state["memory"], training) if training else {}
            noise = keras.tree.map_structure(lambda x: ops.squeeze(x, 1), noise)
            attend = partial(self.attention.step, noise=noise)
        attend = partial(attend, memory=state["memory"])
        with rnn.dropout_masks(self.cell, state.get("dropout", [])):
            step_output, weights, next_state = self._step(inputs, state, attend)
        return self._readout(step_output, inputs), unflatten_weights(weights, state), next_state

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "cell": serialize(self.cell),
            "attention": serialize(self.attention),
            "return_state": self.return_state,
            "return_attention_scores": self.return_attention_scores,
        }
