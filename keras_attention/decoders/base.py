"""The base of the decoders: a recurrent cell that attends to a memory at each step.

A call unrolls the decoder over the target (teacher forcing); `ka.search` takes its `begin` and
`step`. Shapes: B batch, T target steps, S memory steps, D widths, O output width.
"""

import abc
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import ops

from keras_attention import masks, search
from keras_attention._internal import rnn, validation
from keras_attention._internal.loop_variables import read_variables_once
from keras_attention._internal.serialization import build_once, deserialize
from keras_attention.attention.base import AttentionMechanism, validate_memory_mask
from keras_attention.decoders.dims import DecoderDims


def beam_invariant_state(state: Any) -> Any:
    """Returns the part of a decoder's state that all beams of an example share: its memory.

    It is empty if the attention is stateful, since each beam then has a state of its own.
    """
    return () if keras.tree.flatten(state["attention"]) else state["memory"]


class AttentionDecoder(keras.layers.Layer, abc.ABC):
    """Abstract: a cell and an attention, over target inputs (B, T, Din) and a memory (B, S, D).

    Call arguments, Returns, Masking: see `call`.
    """

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

    @abc.abstractmethod
    def _step(self, inputs: Any, state: dict, attend: Callable) -> tuple:
        """Takes one step; returns the input of `_readout`, the weights, and the next state.

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

    def _build_readout(self, inputs_dim: int, context_dim: int, dims: DecoderDims) -> None:
        """Builds the layers that follow the attention."""

    def build(self, inputs_shape: Any, memory_shape: Any, initial_state_shape: Any = None) -> None:
        self.attention.attention_shape(memory_shape)  # raises if it is not that of a memory
        _validate_inputs(inputs_shape, memory_shape)
        batch_size, context_dim = inputs_shape[0], self.attention.context_dim(memory_shape)
        self.dims = self._dims(context_dim)
        build_once(self.cell, (batch_size, inputs_shape[-1] + self.dims.extra_input))
        build_once(self.attention, (batch_size, None, self.dims.query), memory_shape)
        self._build_readout(inputs_shape[-1], context_dim, self.dims)

    def begin(self, memory: Any, memory_mask: Any = None, initial_state: Any = None) -> dict:
        """Returns the state before the first step: a dict of nests of tensors, batch first.

        Feature maps are flattened to (B, H*W, D).
        """
        memory = keras.tree.map_structure(
            lambda source: ops.convert_to_tensor(source, dtype=self.compute_dtype), memory
        )
        input_feed = self._initial_input_feed(memory)
        parts, part_masks = map(keras.tree.flatten, (memory, memory_mask))
        for part, mask in zip(parts, part_masks, strict=False):
            if mask is not None:
                validate_memory_mask("memory_mask", mask, part.shape)
        self.attention.attention_shape(memory_shapes(memory))
        prepared = self.attention.prepare(memory, value_mask=memory_mask)
        attention_state = self.attention.initial_state(prepared)
        cell_state = rnn.initial_cell_state(self.cell, ops.shape(parts[0])[0])
        if initial_state is not None:
            cell_state = rnn.pack_initial_state(cell_state, initial_state)
        return {"cell": cell_state, "attention": attention_state, "memory": prepared, **input_feed}

    @search.shares_state(beam_invariant_state)
    def step(self, inputs: Any, state: dict) -> tuple:
        """Takes one step, for search.

        Args:
            inputs: (B, Din). In beam search (B K, Din): the state then has B K rows, and its memory
                B rows if the attention is stateless.
            state: What `begin` or the last step returned.

        Returns:
            The output (B, O), the weights (B, S), S = H*W over feature maps, and the next state.
        """
        shared = keras.tree.flatten(beam_invariant_state(state))
        attend = self.attention.attend_beams if shared else self.attention.step
        try:
            attend = partial(attend, memory=state["memory"])
            step_output, weights, state = self._step(inputs, state, attend)
            return self._readout(step_output, inputs), weights, state
        finally:
            if self._has_dropout:
                rnn.reset_dropout_masks(self.cell)

    def call(
        self,
        inputs: Any,
        memory: Any,
        inputs_mask: Any = None,
        memory_mask: Any = None,
        initial_state: Any = None,
        training: bool | None = None,
    ) -> Any:
        """Unrolls the decoder over the inputs.

        Call arguments:
            inputs: (B, T, Din), the target shifted by one: the embedding of y_{t-1} at step t.
            memory: (B, S, D), or with a spatial attention feature maps (B, H, W, D); a list of
                memories for `ka.MultiSourceAttention`.
            inputs_mask: (B, T). A masked step keeps the state; its output and weights are zero.
            memory_mask: (B, S) or (B, H, W), or a list of masks.
            initial_state: The cell's first state, in its structure. Defaults to zeros.
            training: Whether the dropouts are applied.

        Returns:
            The outputs (B, T, O); with `return_attention_scores` then the weights (B, T, S), or
            (B, T, H, W) over feature maps; with `return_state` then the cell's last states, as
            `keras.layers.RNN` returns them.

        Masking: Keras fills `inputs_mask` and `memory_mask` with the masks attached to the tensors.
        The mask of the inputs is passed on.
        """
        results = self.decode(inputs, memory, inputs_mask, memory_mask, initial_state, training)
        outputs, weights, state = results
        return self._pack_outputs(outputs, weights, state["cell"])

    def decode(
        self,
        inputs: Any,
        memory: Any,
        inputs_mask: Any = None,
        memory_mask: Any = None,
        initial_state: Any = None,
        training: bool | None = None,
        sampler: Any = None,
    ) -> tuple:
        """Like `call`, but always returns outputs, weights and the state after the last step.

        Masks must be given: Keras fills in those attached to tensors for `call` only. The state has
        the form of `begin`; "attention" may hold what a loss needs, see `ka.alignments.Hard`. A
        `sampler` chooses the inputs of each step, see `models.scheduled_sampling`.
        """
        inputs = ops.convert_to_tensor(inputs, dtype=self.compute_dtype)
        if not self.built:
            self.build(tuple(inputs.shape), memory_shapes(memory))
        _validate_inputs(inputs.shape, memory_shapes(memory))
        validation.mask("inputs_mask", inputs_mask, inputs.shape[:2], "(batch, steps)")
        batch_size, steps = ops.shape(inputs)[:2]
        state, noise = self.begin(memory, memory_mask, initial_state), {}
        dropout: contextlib.AbstractContextManager = contextlib.nullcontext()
        if training:
            noise = self.attention.sample_noise(steps, state["memory"], training)
            cell_shape = (batch_size, inputs.shape[-1] + self.dims.extra_input)
            dropout = rnn.dropout_masks(self.cell, cell_shape, self.compute_dtype)
        with read_variables_once(self), dropout:
            outputs, weights, state = self._unroll(inputs, state, noise, inputs_mask, sampler)
        if inputs_mask is not None:
            outputs = masks.zero_masked(outputs, inputs_mask)
            weights = masks.zero_masked(weights, inputs_mask)
        is_map = not isinstance(memory, (list, tuple)) and len(memory.shape) == 4
        if is_map and len(self.attention.attention_shape(memory_shapes(memory))) == 2:
            weights = ops.reshape(weights, (*ops.shape(weights)[:2], *ops.shape(memory)[1:3]))
        return outputs, weights, state

    def _unroll(
        self, inputs: Any, state: dict, noise: Any, inputs_mask: Any, sampler: Any = None
    ) -> tuple:
        """Takes all steps, one after the other; returns outputs, weights (B, T, S), last state."""
        state, slices = dict(state), {"inputs": inputs, "noise": noise}
        memory = state.pop("memory")
        attend = partial(self.attention.step, memory=memory)

        def scan(step: Callable) -> tuple:
            return rnn.scan(step, slices, state, inputs_mask, self.dtype_policy)

        if sampler is None:
            step_outputs, weights, state = scan(
                lambda x, state: self._step(x["inputs"], state, partial(attend, noise=x["noise"]))
            )
            return self._readout(step_outputs, inputs), weights, {**state, "memory": memory}

        def sampled_step(x: dict, state: dict) -> tuple:
            inputs = sampler.next_inputs(x["inputs"], state["output"], x["sampler"])
            outputs, weights, state = self._step(inputs, state, partial(attend, noise=x["noise"]))
            outputs = self._readout(outputs, inputs)
            return outputs, weights, {**state, "output": ops.cast(outputs, inputs.dtype)}

        slices["sampler"] = sampler.sample_noise(inputs)
        state["output"] = ops.zeros((ops.shape(inputs)[0], self.dims.output), inputs.dtype)
        outputs, weights, state = scan(sampled_step)
        del state["output"]
        return outputs, weights, {**state, "memory": memory}

    def compute_output_spec(self, inputs: Any, memory: Any, *args: Any, **kwargs: Any) -> Any:
        memory_shape = memory_shapes(memory)
        attention_shape = self.attention.attention_shape(memory_shape)
        _validate_inputs(inputs.shape, memory_shape)

        def spec(*shape: int | None) -> keras.KerasTensor:
            return keras.KerasTensor((inputs.shape[0], *shape), dtype=self.compute_dtype)

        output_dim = self._dims(self.attention.context_dim(memory_shape)).output
        outputs = spec(inputs.shape[1], output_dim)
        weights = spec(inputs.shape[1], *attention_shape)
        cell_state = keras.tree.map_structure(spec, rnn.state_sizes(self.cell))
        return self._pack_outputs(outputs, weights, cell_state)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "cell": keras.saving.serialize_keras_object(self.cell),
            "attention": keras.saving.serialize_keras_object(self.attention),
            "return_state": self.return_state,
            "return_attention_scores": self.return_attention_scores,
        }

    def _pack_outputs(self, outputs: Any, weights: Any, cell_state: list) -> Any:
        results = [outputs]
        results += [weights] if self.return_attention_scores else []
        results += cell_state if self.return_state else []
        return results[0] if len(results) == 1 else tuple(results)


def memory_shapes(memory: Any) -> Any:
    """Returns the shape of a memory, or the shapes of a list of memories."""
    return keras.tree.map_structure(lambda part: tuple(part.shape), memory)


def _validate_inputs(inputs_shape: Any, memory_shape: Any) -> None:
    validation.rank("inputs", inputs_shape, "(batch, steps, width)")
    for shape in memory_shape if isinstance(memory_shape[0], (list, tuple)) else [memory_shape]:
        validation.equal("inputs", inputs_shape[0], "memory", shape[0], "batch size")
