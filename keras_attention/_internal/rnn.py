"""Recurrence: walking a step function over time, inside whatever `keras.layers.RNN` compiles to.

Of the loops that Keras offers, that one trains in graph mode and under XLA and exports, on every
backend. Its cell here is a closure: the step reads what is constant (memory, keys, masks) from the
scope around it instead of carrying it as state.
"""

import contextlib

import keras
from keras import ops


def scan(step, inputs, state, mask=None, dtype=None):
    """Applies `step` along time.

    Args:
        step: Function of inputs (B, F) and a state to an output (B, O) and the next state.
        inputs: (B, T, F), or a nest of such.
        state: A nest of tensors with the batch first. They keep their dtypes.
        mask: (B, T). A masked step leaves the state as it was, and its output is zero.
        dtype: Dtype policy of the loop.

    Returns:
        The outputs (B, T, O), and the state after the last step.
    """
    leaves = keras.tree.flatten(inputs)
    # Unknown widths last, so that all others start at a known place.
    order = sorted(range(len(leaves)), key=lambda i: leaves[i].shape[-1] is None)
    leaves = [leaves[i] for i in order]

    def step_of_row(row, state):
        parts = _split(row, leaves)
        parts = [parts[order.index(i)] for i in range(len(parts))]
        return step(keras.tree.pack_sequence_as(inputs, parts), state)

    loop = keras.layers.RNN(
        _ClosureCell(step_of_row, state, dtype),
        return_sequences=True,
        return_state=True,
        zero_output_for_mask=True,
        dtype=dtype,
        autocast=False,  # States keep their dtypes.
        name="scan",
    )
    # All that a step reads of the loop's inputs travels in one tensor.
    rows = ops.concatenate(leaves, axis=-1) if len(leaves) > 1 else leaves[0]
    outputs, *final = loop(rows, initial_state=keras.tree.flatten(state), mask=mask)
    return outputs, keras.tree.pack_sequence_as(state, final)


def _split(row, leaves):
    """The parts of `row` (B, F), one for each leaf, as wide as that."""
    parts, start = [], 0
    for leaf in leaves:
        width = ops.shape(leaf)[-1]  # an integer where it is known
        parts.append(row[:, start : start + width])
        start = start + width
    return parts


class _ClosureCell:
    """What `keras.layers.RNN` asks of a cell, around a step function."""

    def __init__(self, step, state, dtype):
        self.step = step
        self.state = state
        self.state_size = [leaf.shape[-1] for leaf in keras.tree.flatten(state)]
        self.compute_dtype = None  # Nor does the loop cast states for the cell.

    def __call__(self, inputs, states):
        output, state = self.step(inputs, keras.tree.pack_sequence_as(self.state, list(states)))
        return output, keras.tree.flatten(state)

    call = __call__


def initial_cell_state(cell, batch_size):
    """Returns the state that `cell`, any Keras RNN cell, starts from: a list of nests."""
    return keras.layers.RNN(cell, name="initial_cell_state").get_initial_state(batch_size)


def call_cell(cell, inputs, cell_state):
    """Returns output and next state of any Keras cell, the state in the structure it had."""
    output, next_state = cell(inputs, cell_state)
    return output, keras.tree.pack_sequence_as(cell_state, keras.tree.flatten(next_state))


def output_size(cell):
    """Returns the width of the output of `cell`, any Keras RNN cell."""
    size = getattr(cell, "output_size", None)
    return keras.tree.flatten(cell.state_size)[0] if size is None else size


@contextlib.contextmanager
def dropout_masks(cell, inputs):
    """Draws the dropout masks of `cell`, for inputs like `inputs` (B, F), outside of the loop.

    Keras's cells draw on their first call and keep the masks until reset. Inside a loop that draw
    would leak out of the loop's scope.
    """
    try:
        for layer in _flat_cells(cell):
            outputs = ops.ones((ops.shape(inputs)[0], output_size(layer)), dtype=inputs.dtype)
            if hasattr(layer, "get_dropout_mask"):
                layer.get_dropout_mask(inputs)
                layer.get_recurrent_dropout_mask(outputs)
            inputs = outputs
        yield
    finally:
        reset_dropout_masks(cell)


def reset_dropout_masks(cell):
    """Lets `cell` draw anew: what it drew was for one batch."""
    for layer in _flat_cells(cell):
        if hasattr(layer, "reset_dropout_mask"):
            layer.reset_dropout_mask()
            layer.reset_recurrent_dropout_mask()


def _flat_cells(cell):
    return cell.cells if isinstance(cell, keras.layers.StackedRNNCells) else [cell]
