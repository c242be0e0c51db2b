"""Scan a step function over time, and run any Keras RNN cell.

The scan is a `keras.layers.RNN`: the only loop of Keras that trains in graph mode and under XLA,
and exports, on every backend. Its cell is a closure, so that a step reads constants (memory, keys,
masks) from the enclosing scope instead of carrying them in its state.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from keras_attention._internal import validation


def scan(step: Callable, inputs: Any, state: Any, mask: Any = None, dtype: Any = None) -> tuple:
    """Applies `step` along time.

    Args:
        step: Function of inputs (B, F) and a state to one or more outputs (B, O) and the next
            state. Only the last output may have an unknown width.
        inputs: (B, T, F), or a nest of tensors with these axes.
        state: A nest of tensors, batch first. They keep their dtypes.
        mask: (B, T). A masked step keeps the state, and its outputs are zero.
        dtype: Dtype policy of the loop.

    Returns:
        The outputs (B, T, O), and the state after the last step.
    """
    leaves = keras.tree.flatten(inputs)
    if not keras.tree.flatten(state):  # The loop of Keras needs one.
        unused = ops.zeros((ops.shape(leaves[0])[0], 1), leaves[0].dtype)
        *outputs, _ = scan(lambda x, s: (*step(x, state)[:-1], s), inputs, unused, mask, dtype)
        return *outputs, state
    # Unknown widths last, so that all others start at a known position.
    order = sorted(range(len(leaves)), key=lambda i: leaves[i].shape[-1] is None)
    dims = [ops.shape(leaves[i])[-1] for i in order]  # integers where they are known
    output_dims = list[Any]()  # AutoGraph takes no annotated names

    def cell_step(packed: Any, state: Any) -> tuple:
        parts = _split(packed, dims)
        parts = [ops.cast(parts[order.index(i)], leaf.dtype) for i, leaf in enumerate(leaves)]
        *outputs, state = step(keras.tree.pack_sequence_as(inputs, parts), state)
        output_dims[:] = [output.shape[-1] for output in outputs]
        return _concatenate(outputs), state

    with keras.RematScope(mode=None):  # A closure cannot be rematerialized.
        loop = keras.layers.RNN(
            _ClosureCell(cell_step, state),
            return_sequences=True,
            return_state=True,
            zero_output_for_mask=True,
            dtype=dtype,
            autocast=False,  # States keep their dtypes.
            name="scan",
        )
    # The loop takes and returns one tensor: the widths are concatenated.
    packed_inputs = _concatenate([leaves[i] for i in order])
    outputs, final_states = run_loop(loop, packed_inputs, keras.tree.flatten(state), mask)
    # The loop's layer casts them.
    final_states = [
        ops.cast(last, first.dtype)
        for last, first in zip(final_states, keras.tree.flatten(state), strict=True)
    ]
    return *_split(outputs, output_dims), keras.tree.pack_sequence_as(state, final_states)


def run_loop(loop: keras.layers.RNN, inputs: Any, state: list, mask: Any = None) -> tuple:
    """Returns the outputs (B, T, O) of a recurrent layer, and its states after the last step.

    Keras's loops fail without a step: an empty sequence gets one, whose results are dropped. They
    fail too if the batch of the states is known and that of the inputs is not.
    """
    batch_size = keras.tree.flatten(state)[0].shape[0]
    if inputs.shape[0] is None and batch_size is not None:
        inputs = ops.reshape(inputs, (batch_size, *ops.shape(inputs)[1:]))
        mask = mask if mask is None else ops.reshape(mask, (batch_size, ops.shape(mask)[1]))
    if inputs.shape[1] not in (None, 0):  # None on TensorFlow only
        outputs, *final_state = loop(inputs, initial_state=state, mask=mask)
        return outputs, final_state
    steps = ops.shape(inputs)[1]
    missing = [0, 1 if inputs.shape[1] == 0 else ops.maximum(1 - steps, 0)]
    padded_mask = None if mask is None else ops.pad(ops.cast(mask, "bool"), [[0, 0], missing])
    padded = ops.pad(inputs, [[0, 0], missing, [0, 0]])
    outputs, *final_state = loop(padded, initial_state=state, mask=padded_mask)
    leaves = zip(keras.tree.flatten(final_state), keras.tree.flatten(state), strict=True)
    final_state = keras.tree.pack_sequence_as(
        final_state,
        [ops.where(steps > 0, last, ops.cast(first, last.dtype)) for last, first in leaves],
    )
    return outputs[:, :steps], final_state


def _concatenate(tensors: list) -> Any:
    return ops.concatenate(tensors, axis=-1) if len(tensors) > 1 else tensors[0]


def _split(packed: Any, dims: list) -> list:
    """Returns the parts of the last axis of `packed`; the last one takes what is left."""
    if len(dims) == 1:
        return [packed]
    others = (slice(None),) * (len(packed.shape) - 1)
    parts, start = [], 0
    for dim in dims[:-1]:
        parts.append(packed[(*others, slice(start, start + dim))])
        start = start + dim
    return [*parts, packed[(*others, slice(start, None))]]


class _ClosureCell:
    """The cell that `keras.layers.RNN` expects, around a step function."""

    compute_dtype = None  # The loop then does not cast the states.

    def __init__(self, step: Callable, state: Any) -> None:
        self.step = step
        self.state = state
        self.state_size = [leaf.shape[-1] for leaf in keras.tree.flatten(state)]

    def __call__(self, inputs: Any, states: Any) -> tuple:
        output, state = self.step(inputs, keras.tree.pack_sequence_as(self.state, list(states)))
        return output, keras.tree.flatten(state)

    call = __call__


def state_sizes(cell: Any) -> list:
    """Returns the widths of the state of `cell`, any Keras RNN cell: a list of nests."""
    return list(cell.state_size) if keras.tree.is_nested(cell.state_size) else [cell.state_size]


def initial_cell_state(cell: Any, batch_size: Any) -> list:
    """Returns the first state of `cell`, any Keras RNN cell: a list of nests."""
    if not hasattr(cell, "get_initial_state"):
        return [ops.zeros((batch_size, dim), cell.compute_dtype) for dim in state_sizes(cell)]
    state = cell.get_initial_state(batch_size=batch_size)
    return list(state) if keras.tree.is_nested(state) else [state]


def pack_initial_state(cell_state: list, initial_state: Any) -> list:
    """Returns `initial_state`, an argument of a layer, in structure and dtypes of `cell_state`.

    A state with a batch of 1, such as a learned one, is that of all examples.
    """
    leaves, given = keras.tree.flatten(cell_state), keras.tree.flatten(initial_state)
    given = [ops.convert_to_tensor(x) for x in given]
    expected = [tuple(leaf.shape) for leaf in leaves]
    actual = [tuple(x.shape) for x in given]
    if len(actual) != len(expected) or not all(
        validation.shapes_match(shape, wanted) or shape == (1, *wanted[1:])
        for shape, wanted in zip(actual, expected, strict=True)
    ):
        raise ValueError(
            f"`initial_state` has shapes {actual}; expected {expected}, the states of `cell`."
        )
    given = [
        ops.cast(ops.broadcast_to(x, ops.shape(leaf)) if x.shape[0] == 1 else x, leaf.dtype)
        for x, leaf in zip(given, leaves, strict=True)
    ]
    return keras.tree.pack_sequence_as(cell_state, given)


def output_size(cell: Any) -> int:
    """Returns the width of the output of `cell`, any Keras RNN cell."""
    size = getattr(cell, "output_size", None)
    return keras.tree.flatten(cell.state_size)[0] if size is None else size


def sample_dropout_masks(cell: Any, batch_size: Any, inputs_dim: int, dtype: Any) -> list:
    """Returns the dropout masks of one sequence, a list of nests of tensors, batch first.

    Keras's cells sample them in their first call and keep them until they are reset. Inside a loop
    they would leak out of the loop's scope. Cells inside a custom cell sample theirs in each step.
    """
    sampled, dim = [], inputs_dim
    try:
        for layer in _flat_cells(cell):
            inputs, dim = ops.ones((batch_size, dim), dtype), output_size(layer)
            if hasattr(layer, "get_dropout_mask"):
                layer.get_dropout_mask(inputs)
                states = keras.tree.flatten(layer.state_size)[0]
                layer.get_recurrent_dropout_mask(ops.ones((batch_size, states), dtype))
                found = {name: getattr(layer, name) for name in _MASKS}
                sampled.append({k: mask for k, mask in found.items() if mask is not None})
    finally:
        _reset_dropout_masks(cell)
    return sampled


@contextlib.contextmanager
def dropout_masks(cell: Any, sampled: list) -> Iterator[None]:
    """A scope in which `cell` has the masks of `sample_dropout_masks`; none for an empty list."""
    layers = [layer for layer in _flat_cells(cell) if hasattr(layer, "get_dropout_mask")]
    try:
        for layer, layer_masks in zip(layers, sampled, strict=False):
            for name, mask in layer_masks.items():
                setattr(layer, name, mask)
        yield
    finally:
        _reset_dropout_masks(cell)


def has_dropout(cell: Any) -> bool:
    """Returns whether `cell`, or a cell inside it, may have dropout masks."""
    return any(getattr(layer, name, 0) for layer in _layers(cell) for name in _RATES)


_RATES = ("dropout", "recurrent_dropout")
_MASKS = ("_dropout_mask", "_recurrent_dropout_mask")  # where Keras's cells keep them


def _reset_dropout_masks(cell: Any) -> None:
    for layer in _layers(cell):
        if hasattr(layer, "reset_dropout_mask"):
            layer.reset_dropout_mask()
            layer.reset_recurrent_dropout_mask()


def _layers(cell: Any) -> list:
    return cell._flatten_layers() if isinstance(cell, keras.layers.Layer) else [cell]


def _flat_cells(cell: Any) -> list:
    return cell.cells if isinstance(cell, keras.layers.StackedRNNCells) else [cell]
