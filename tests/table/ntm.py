"""Rows of the Neural Turing Machine, under keras.layers.RNN and over several controllers."""

import keras
import numpy as np

import keras_attention as ka
from comparing import to_numpy
from oracles import ntm
from table.decoders import _zero_states, cell_oracle
from table.row import CELL, EMPTY_LSTM_RNN, EMPTY_RNN, LOOP, QUERY, Row

LOCATIONS, WIDTH = 7, 5


def _heads(heads):
    """The outputs of each of the heads, as functions of the controller's output."""
    kernels = np.split(to_numpy(heads.kernel), heads.num_heads, axis=1)
    biases = np.split(to_numpy(heads.bias), heads.num_heads)
    return [
        lambda hidden, kernel=kernel, bias=bias: hidden @ kernel + bias
        for kernel, bias in zip(kernels, biases, strict=True)
    ]


def _controller(controller):
    if isinstance(controller, keras.layers.Dense):
        kernel, bias = (to_numpy(weight) for weight in controller.weights)
        return lambda x, states: (np.tanh(x @ kernel + bias), [])
    cell, zeros = cell_oracle(controller), _zero_states(controller)
    return lambda x, states: cell(x, zeros if states is None else states)


def ntm_oracle(layer, inputs, masks):
    cell, x = layer.cell, inputs["inputs"].astype(float)
    mask = masks.get("mask", np.ones(x.shape[:2], bool))
    writers, readers = _heads(cell.writer), _heads(cell.reader)
    width, results = cell.output_size, []
    for b in range(len(x)):
        memory = np.full((cell.memory_size, cell.memory_dim), 1e-6)
        outputs, (last, states, at, memory) = ntm.machine(
            _controller(cell.controller), writers, readers, x[b], mask[b], memory, width
        )
        results.append(
            [outputs, last, *keras.tree.flatten(states), np.concatenate(at), memory.ravel()]
        )
    return [np.stack(parts) for parts in zip(*results, strict=True)]


def _machine(controller, dtype=None, **options):
    cell = ka.NTMCell(controller(dtype), LOCATIONS, WIDTH, dtype=dtype, **options)
    return keras.layers.RNN(
        cell,
        return_sequences=True,
        return_state=True,
        zero_output_for_mask=True,
        dtype=dtype,
    )


def _row(
    name, controller, states, num_read_heads=1, num_write_heads=1, shift_range=1, empty=EMPTY_RNN
):
    heads, output = num_read_heads + num_write_heads, CELL + num_read_heads * WIDTH
    widths = [output, *states, heads * LOCATIONS, LOCATIONS * WIDTH]
    return Row(
        name=name,
        holds=(ka.NTMCell,),
        make=lambda dtype=None: _machine(
            controller,
            dtype,
            num_read_heads=num_read_heads,
            num_write_heads=num_write_heads,
            shift_range=shift_range,
        ),
        inputs={"inputs": ("T", QUERY)},
        outputs={
            "output": ("T", output),
            **{f"state_{i}": (width,) for i, width in enumerate(widths)},
        },
        oracle=ntm_oracle,
        call=lambda layer, tensors, masks: keras.tree.flatten(
            layer(tensors["inputs"], mask=masks.get("mask"))
        ),
        masks={"mask": ("T",)},
        # The locations belong to the cell: no mask refers to them.
        weights=None,
        zero=("output",),
        limits={**LOOP, **empty},
    )


ROWS = [
    _row(
        "ntm_lstm",
        lambda dtype: keras.layers.LSTMCell(CELL, dtype=dtype),
        [CELL, CELL],
        empty=EMPTY_LSTM_RNN,
    ),
    _row("ntm_feed_forward", lambda dtype: keras.layers.Dense(CELL, "tanh", dtype=dtype), []),
    _row(
        "ntm_heads",
        lambda dtype: keras.layers.GRUCell(CELL, dtype=dtype),
        [CELL],
        num_read_heads=3,
        num_write_heads=2,
        shift_range=2,
    ),
]
