"""The base of the decoders: `call`, `decode` and `unroll`, which run all steps in one loop.

A call runs the decoder over the target (teacher forcing). Shapes: B batch, T target steps, S memory
steps, D widths, O output width.
"""

import abc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import rnn, validation
from keras_attention._internal.call_context import run_as_call
from keras_attention._internal.keras_masks import get_keras_mask
from keras_attention._internal.loop_variables import read_variables_once
from keras_attention._internal.one_step import call_on_step
from keras_attention.decoders.dims import memory_shapes, validate_inputs
from keras_attention.decoders.feedback import OutputFeedback
from keras_attention.decoders.stepwise import StepwiseDecoder, unflatten_weights
from keras_attention.search.unroll import Unrolled, stop_after


class AttentionDecoder(StepwiseDecoder, abc.ABC):
    """Abstract: a cell and an attention layer, over inputs (B, T, Din) and a memory (B, S, D).

    Call arguments, Returns, Masking: see `call`.
    """

    def call(
        self,
        inputs: Any,
        memory: Any,
        inputs_mask: Any = None,
        memory_mask: Any = None,
        initial_state: Any = None,
        training: bool | None = None,
    ) -> Any:
        """Runs the decoder over the inputs.

        Call arguments:
            inputs: (B, T, Din), the target shifted by one step: at step t, the embedding of
                y_{t-1}.
            memory: (B, S, D). For spatial attention also feature maps (B, H, W, D); for
                `ka.MultiSourceAttention` also a list of memories.
            inputs_mask: (B, T). A masked step does not change the state; its output and weights are
                zero.
            memory_mask: (B, S) or (B, H, W), or a list of masks. Masked positions are not attended
                to.
            initial_state: The cell's first state, in the structure of the cell's state. Defaults to
                zeros.
            training: Whether dropout is applied.

        Returns:
            The outputs (B, T, O). With `return_attention_scores` the weights (B, T, S) follow, or
            (B, T, H, W) over feature maps. With `return_state` the cell's last states follow, as
            `keras.layers.RNN` returns them.

        Masking: Keras fills in `inputs_mask` and `memory_mask` from the masks attached to the
        tensors. The mask of the inputs is passed on.
        """
        outputs, weights, state = self._decode(
            inputs, memory, inputs_mask, memory_mask, initial_state, training
        )
        return self._pack_outputs(outputs, weights, state["cell"])

    def decode(
        self,
        inputs: Any,
        memory: Any,
        inputs_mask: Any = None,
        memory_mask: Any = None,
        initial_state: Any = None,
        training: bool | None = None,
        feedback: Any = None,
    ) -> tuple:
        """Like `call`, but always returns outputs, weights and the state after the last step.

        The state has the form of the one that `begin` returns. Its "attention" may hold what a loss
        needs; see `ka.alignments.Hard`. A `feedback` chooses the inputs of each step; see
        `decoders.feedback`.
        """
        validation.not_symbolic("inputs", inputs, "decode")
        if inputs_mask is None:
            inputs_mask = get_keras_mask(inputs)
        inputs = ops.convert_to_tensor(inputs, dtype=self.compute_dtype)
        if not self.built:  # not inside a call in training: see `convert_inputs` of the models
            self.build(tuple(inputs.shape), memory_shapes(memory))
        arguments = inputs, memory, inputs_mask, memory_mask, initial_state
        return run_as_call(
            self, lambda training: self._decode(*arguments, training, feedback), training
        )

    def unroll(
        self,
        memory: Any,
        first: Any,
        steps: int,
        feed: Callable | Sequence | None = None,
        stop: Callable | None = None,
        memory_mask: Any = None,
        initial_state: Any = None,
        training: bool | None = None,
    ) -> Unrolled:
        """Runs the decoder on its own outputs, for forecasts, frames and other numbers.

        All steps run in one loop, through which gradients flow. Each step reads `feed` of the
        previous output.

        Args:
            memory, memory_mask, initial_state, training: As in `call`.
            first: (B, Din), the input of the first step.
            steps: The number of steps, T, a Python integer.
            feed: What turns an output into the next input: a function from outputs (B, O) to inputs
                (B, Din), or a layer that maps such sequences, such as a `keras.Sequential`, or a
                list of these, such as [frame_head, prenet]. None: the outputs are the inputs.
            stop: A function from outputs (B, T, O) to booleans (B, T), True at the last step of a
                sequence. What follows that step is zero. None: all sequences have T steps.

        Returns:
            The outputs (B, T, O), the weights (B, T, S), the lengths (B,) and the state after step
            T.

        Raises:
            ValueError: If `steps` is not a positive integer, or the width of `first` or of what
                `feed` returns is not that of the inputs.
        """
        validation.not_symbolic("memory", memory, "unroll")
        first = ops.convert_to_tensor(first, dtype=self.compute_dtype)
        validation.rank("first", first.shape, "(batch, width)")
        steps = validation.positive_integer("steps", steps)
        inputs = ops.repeat(first[:, None], steps, axis=1)
        if not self.built:
            self.build(tuple(inputs.shape), memory_shapes(memory))
        self._validate_width("first", first)
        if not all(layer.built for layer in _layers(feed)):  # A loop cannot make variables.
            call_on_step(feed, ops.zeros((1, self.dims.output), self.compute_dtype))
        results = self.decode(
            inputs, memory, None, memory_mask, initial_state, training, OutputFeedback(feed)
        )
        return stop_after(stop, *results)

    def _decode(
        self,
        inputs: Any,
        memory: Any,
        inputs_mask: Any,
        memory_mask: Any,
        initial_state: Any,
        training: bool | None,
        feedback: Any = None,
    ) -> tuple:
        inputs = ops.convert_to_tensor(inputs, dtype=self.compute_dtype)
        validate_inputs(inputs.shape, memory_shapes(memory))
        self._validate_width("inputs", inputs)
        inputs_mask = validation.mask(
            "inputs_mask", inputs_mask, inputs.shape[:2], "(batch, steps)"
        )
        state, noise = self.begin(memory, memory_mask, initial_state, training), {}
        if training:
            noise = self.attention.sample_noise(ops.shape(inputs)[1], state["memory"], training)
        with read_variables_once(self), rnn.dropout_masks(self.cell, state.get("dropout", [])):
            outputs, weights, state = self._unroll(inputs, state, noise, inputs_mask, feedback)
        if inputs_mask is not None:
            outputs = masks.zero_masked(outputs, inputs_mask)
            weights = masks.zero_masked(weights, inputs_mask)
        return outputs, unflatten_weights(weights, state), state

    def _unroll(
        self, inputs: Any, state: dict, noise: Any, inputs_mask: Any, feedback: Any = None
    ) -> tuple:
        """Takes all steps, one after the other; returns outputs, weights (B, T, S), last state."""
        constants = {name: state[name] for name in ("memory", "map", "dropout") if name in state}
        state = {name: part for name, part in state.items() if name not in constants}
        slices = {"inputs": inputs, "noise": noise}
        attend = partial(self.attention.step, memory=constants["memory"])

        def scan(step: Callable) -> tuple:
            return rnn.scan(step, slices, state, inputs_mask, self.dtype_policy)

        if feedback is None:
            step_outputs, weights, state = scan(
                lambda x, state: self._step(x["inputs"], state, partial(attend, noise=x["noise"]))
            )
            return self._readout(step_outputs, inputs), weights, {**state, **constants}

        def step(x: dict, state: dict) -> tuple:
            inputs = feedback.next_inputs(x["inputs"], state["output"], x["feedback"])
            outputs, weights, state = self._step(inputs, state, partial(attend, noise=x["noise"]))
            outputs = self._readout(outputs, inputs)
            return outputs, weights, {**state, "output": ops.cast(outputs, inputs.dtype)}

        slices["feedback"] = feedback.sample_noise(inputs)
        state["output"] = ops.zeros((ops.shape(inputs)[0], self.dims.output), inputs.dtype)
        outputs, weights, state = scan(step)
        del state["output"]
        return outputs, weights, {**state, **constants}

    def compute_output_shape(
        self, inputs_shape: Any, memory_shape: Any, initial_state_shape: Any = None
    ) -> Any:
        return self._make_outputs(inputs_shape, memory_shape, lambda *shape: shape)

    def compute_output_spec(self, inputs: Any, memory: Any, *args: Any, **kwargs: Any) -> Any:
        def spec(*shape: int | None) -> keras.KerasTensor:
            return keras.KerasTensor(shape, dtype=self.compute_dtype)

        return self._make_outputs(inputs.shape, memory_shapes(memory), spec)

    def _make_outputs(self, inputs_shape: Any, memory_shape: Any, make: Callable) -> Any:
        """Returns the structure of a call's outputs, of what `make` returns for their shapes."""
        attention_shape = self.attention.attention_shape(memory_shape)
        validate_inputs(inputs_shape, memory_shape)
        batch_size, steps = inputs_shape[:2]
        output_dim = self._dims(self.attention.context_dim(memory_shape)).output
        outputs = make(batch_size, steps, output_dim)
        weights = make(batch_size, steps, *attention_shape)
        sizes = rnn.state_sizes(self.cell)
        cell_state = keras.tree.map_structure(lambda dim: make(batch_size, dim), sizes)
        return self._pack_outputs(outputs, weights, cell_state)

    def _validate_width(self, argument: str, inputs: Any) -> None:
        if inputs.shape[-1] != self.inputs_dim:
            raise ValueError(
                f"`{argument}` has width {inputs.shape[-1]}; expected {self.inputs_dim}, as when "
                "the decoder was built."
            )

    def _pack_outputs(self, outputs: Any, weights: Any, cell_state: list) -> Any:
        results = [outputs]
        results += [weights] if self.return_attention_scores else []
        results += cell_state if self.return_state else []
        return results[0] if len(results) == 1 else tuple(results)


def _layers(feed: Any) -> list:
    parts = feed if isinstance(feed, (list, tuple)) else [feed]
    return [part for part in parts if isinstance(part, keras.layers.Layer)]
