"""Attention decoders: a recurrent cell that looks at a memory while it writes.

A decoder walks its `step` over the target when it is called (teacher forcing), and gives the same
`begin` and `step` to `ka.search`. The memory is an argument of the call, and its keys are prepared
once per sequence. Shapes: B batch, T target steps, S memory steps, D widths, O output width.
"""

import abc
import contextlib
from typing import NamedTuple

import keras
from keras import ops

from keras_attention import search
from keras_attention._internal import rnn, validation
from keras_attention._internal.loop_variables import read_variables_once
from keras_attention._internal.serialization import deserialize
from keras_attention.attention.base import AttentionMechanism, validate_memory_mask


class Widths(NamedTuple):
    """The widths inside a decoder.

    Attributes:
        joining: Of what joins the inputs of the cell.
        query: Of what the attention is asked with.
        emitted: Of what a step emits.
        output: Of the outputs, O.
    """

    joining: int
    query: int
    emitted: int
    output: int


def shared_memory(state):
    """Returns what beams share of a decoder's state: the memory; see `search.shares_state`.

    An attention with a state of its own answers one query at a time.
    """
    return () if keras.tree.flatten(state["attention"]) else state["memory"]


class AttentionDecoder(keras.layers.Layer, abc.ABC):
    """Abstract: a cell and an attention, over target inputs (B, T, Din) and a memory (B, S, D).

    Call arguments:
        inputs: (B, T, Din), the target shifted by one: the embedding of y_{t-1} at step t.
        memory: (B, S, D), what is attended to, or with a spatial attention a map (B, H, W, D); a
            list of such for `ka.MultiSourceAttention`.
        inputs_mask: (B, T). At a masked step the state is carried over, and output and weights
            are zero.
        memory_mask: (B, S) or (B, H, W), or a list of such.
        initial_state: The cell's first state, in its structure. Defaults to zeros.
        training: Whether the dropouts are applied.

    Returns:
        The outputs (B, T, O); with `return_attention_scores` then the weights (B, T, S), or
        (B, T, H, W) over a map; with `return_state` then the cell's last states, as
        `keras.layers.RNN` returns them.

    Masking: Keras fills `inputs_mask` and `memory_mask` with the masks attached to the tensors. The
    mask of the inputs is passed on.
    """

    def __init__(self, cell, attention, return_state, return_attention_scores, **kwargs):
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
        self.return_state = return_state
        self.return_attention_scores = return_attention_scores
        self.supports_masking = True

    @abc.abstractmethod
    def move(self, inputs, state, noise):
        """As `step`, with this step's slice of the noise that the attention drew, or None.

        What it emits, (B, emitted), `read` turns into the output.
        """

    @abc.abstractmethod
    def read(self, emitted, inputs):
        """Returns the outputs of one step or, after the loop, of all."""

    @abc.abstractmethod
    def move_all(self, inputs, state, noise, inputs_mask, widths: Widths):
        """Takes all steps from `state`; returns what they emit, weights and the last state."""

    @abc.abstractmethod
    def initial_feedback(self, batch_size, widths: Widths) -> dict:
        """Returns what, beside the states of cell and attention, a step hands to the next."""

    @abc.abstractmethod
    def widths(self, context_dim: int) -> Widths:
        """Returns the widths that go with contexts of this width."""

    @abc.abstractmethod
    def build_output(self, inputs_width: int, context_dim: int, widths: Widths):
        """Builds what follows the attention."""

    def build(self, inputs_shape, memory_shape, initial_state_shape=None):
        self._check_shapes(inputs_shape, memory_shape)
        batch_size, context_dim = inputs_shape[0], self.attention.context_dim(memory_shape)
        widths = self.widths(context_dim)
        # Loading a `.keras` file builds the sublayers first; building them again would fail.
        if not self.cell.built:
            self.cell.build((batch_size, inputs_shape[-1] + widths.joining))
        if not self.attention.built:
            self.attention.build((batch_size, None, widths.query), memory_shape)
        self.build_output(inputs_shape[-1], context_dim, widths)

    def begin(self, memory, memory_mask=None, initial_state=None):
        """Returns the state before the first step: a dict of nests of tensors, batch first.

        A map is a row of places there, (B, H W, D).
        """
        memory = keras.tree.map_structure(
            lambda source: ops.convert_to_tensor(source, dtype=self.compute_dtype), memory
        )
        self.attention.attention_shape(_shapes(memory))
        _check_masks(memory, memory_mask)
        batch_size = ops.shape(keras.tree.flatten(memory)[0])[0]
        cell_state = rnn.initial_cell_state(self.cell, batch_size)
        if initial_state is not None:
            cell_state = self._like(cell_state, initial_state)
        prepared = self.attention.prepare(memory, value_mask=memory_mask)
        return {
            "cell": cell_state,
            "attention": self.attention.initial_state(prepared),
            "memory": prepared,
            **self.initial_feedback(batch_size, self._widths(memory)),
        }

    @search.shares_state(shared_memory)
    def step(self, inputs, state):
        """Takes one step, for search.

        Args:
            inputs: (B, Din), or (B K, Din) with such a state of the cell and a memory of B rows,
                where the attention keeps no state.
            state: What `begin` or the last step gave.

        Returns:
            The output (B, O), the weights (B, S), S = H W over a map, and the next state.
        """
        try:
            emitted, weights, state = self.move(inputs, state, noise=None)
            return self.read(emitted, inputs), weights, state
        finally:
            rnn.reset_dropout_masks(self.cell)

    def call(
        self,
        inputs,
        memory,
        inputs_mask=None,
        memory_mask=None,
        initial_state=None,
        training=None,
    ):
        outputs, weights, state = self.decode(
            inputs, memory, inputs_mask, memory_mask, initial_state, training
        )
        return self._selected(outputs, weights, state["cell"])

    def decode(
        self,
        inputs,
        memory,
        inputs_mask=None,
        memory_mask=None,
        initial_state=None,
        training=None,
    ):
        """As `call`, but always returns outputs, weights and the state after the last step.

        Masks are those that are given: Keras fills in the ones attached to tensors for `call` only.
        The state is as `begin` and `step` have it: that of the cell is "cell", that of the
        attention "attention", which may hold what a loss needs; see `ka.alignments.Hard`.
        """
        inputs = ops.convert_to_tensor(inputs, dtype=self.compute_dtype)
        if not self.built:
            self.build(tuple(inputs.shape), _shapes(memory))
        self._check_shapes(inputs.shape, _shapes(memory))
        validation.mask("inputs_mask", inputs_mask, inputs.shape[:2], "(batch, steps)")
        state = self.begin(memory, memory_mask, initial_state)
        noise = self.attention.sample_noise(ops.shape(inputs)[1], state["memory"], training)
        with read_variables_once(self), self.dropout_drawn(inputs, memory, training):
            emitted, weights, state = self.move_all(
                inputs, state, noise, inputs_mask, self._widths(memory)
            )
        outputs = self.read(emitted, inputs)
        if inputs_mask is not None:
            written = ops.cast(ops.expand_dims(inputs_mask, 2), "bool")
            outputs = ops.where(written, outputs, 0)
            weights = ops.where(written, weights, 0)
        return outputs, self.laid_out(weights, memory), state

    def laid_out(self, weights, memory):
        """Returns weights (B, T, S) as those of what is attended to: (B, T, H, W) over a map."""
        if len(self.attention.attention_shape(_shapes(memory))) == 1:
            return weights
        return ops.reshape(weights, (*ops.shape(weights)[:2], *ops.shape(memory)[1:3]))

    def compute_mask(self, inputs, previous_mask=None):
        return previous_mask

    def compute_output_spec(
        self,
        inputs,
        memory,
        inputs_mask=None,
        memory_mask=None,
        initial_state=None,
        training=None,
    ):
        self._check_shapes(inputs.shape, _shapes(memory))
        batch_size, steps = inputs.shape[:2]

        def spec(*shape):
            return keras.KerasTensor(shape, dtype=self.compute_dtype)

        cell_state = keras.tree.map_structure(
            lambda leaf: spec(batch_size, leaf.shape[-1]), rnn.initial_cell_state(self.cell, 1)
        )
        outputs = spec(batch_size, steps, self._widths(memory).output)
        weights = spec(batch_size, steps, *self.attention.attention_shape(_shapes(memory)))
        return self._selected(outputs, weights, cell_state)

    def get_config(self):
        return {
            **super().get_config(),
            "cell": keras.saving.serialize_keras_object(self.cell),
            "attention": keras.saving.serialize_keras_object(self.attention),
            "return_state": self.return_state,
            "return_attention_scores": self.return_attention_scores,
        }

    def output_width(self, memory):
        """Returns the width of the outputs over this memory."""
        return self._widths(memory).output

    def _widths(self, memory):
        return self.widths(self.attention.context_dim(_shapes(memory)))

    def _check_shapes(self, inputs_shape, memory_shape):
        validation.rank("inputs", inputs_shape, "(batch, steps, width)")
        self.attention.attention_shape(memory_shape)
        several = isinstance(memory_shape[0], (list, tuple))
        for shape in memory_shape if several else [memory_shape]:
            validation.equal("inputs", inputs_shape[0], "memory", shape[0], "batch size")

    def _selected(self, outputs, weights, cell_state):
        results = [outputs]
        if self.return_attention_scores:
            results.append(weights)
        if self.return_state:
            results.extend(cell_state)
        return results[0] if len(results) == 1 else tuple(results)

    def _like(self, cell_state, given):
        accepted = [tuple(leaf.shape) for leaf in keras.tree.flatten(cell_state)]
        given = keras.tree.flatten(given)
        came = [tuple(leaf.shape) for leaf in given]
        if len(came) != len(accepted) or not all(map(validation.shapes_match, came, accepted)):
            raise ValueError(
                f"`initial_state` has shapes {came}; expected {accepted}, the states of `cell`."
            )
        given = [ops.convert_to_tensor(leaf, dtype=self.compute_dtype) for leaf in given]
        return keras.tree.pack_sequence_as(cell_state, given)

    def dropout_drawn(self, inputs, memory, training):
        """Draws the dropout of the cell for one batch, around a loop over it."""
        if not training:
            return contextlib.nullcontext()
        width = inputs.shape[-1] + self._widths(memory).joining
        like = ops.ones((ops.shape(inputs)[0], width), dtype=self.compute_dtype)
        return rnn.dropout_masks(self.cell, like)


def _shapes(memory):
    """The shape of a memory, or a list of those of several."""
    several = isinstance(memory, (list, tuple))
    return [tuple(each.shape) for each in memory] if several else tuple(memory.shape)


def _check_masks(memory, memory_mask):
    several = isinstance(memory, (list, tuple)) and memory_mask is not None
    for each, mask in (
        zip(memory, memory_mask, strict=False) if several else [(memory, memory_mask)]
    ):
        if mask is not None:
            validate_memory_mask("memory_mask", mask, each.shape)
