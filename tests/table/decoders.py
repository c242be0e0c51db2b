"""Rows of the decoders, over several Keras cells."""

import keras
import numpy as np

import keras_attention as ka
from comparing import to_numpy
from oracles import attention, decoder
from table.attention import alignment_oracle, score_oracle
from table.row import CELL, EMPTY_LSTM, FINAL, LOOP, QUERY, UNITS, VALUE, Row


def cell_oracle(cell):
    """The oracle of a Keras cell, with its weights."""
    weights = [to_numpy(weight) for weight in getattr(cell, "trainable_weights", [])]
    match cell:
        case keras.layers.StackedRNNCells():
            return decoder.stacked(*map(cell_oracle, cell.cells))
        case keras.layers.GRUCell():
            return decoder.gru(*weights, cell.reset_after)
        case keras.layers.LSTMCell():
            return decoder.lstm(*weights)
        case keras.layers.SimpleRNNCell():
            return decoder.simple_rnn(*weights)


def _zero_states(cell):
    """A list of vectors per cell, of lists of vectors for stacked cells."""
    if isinstance(cell, keras.layers.StackedRNNCells):
        return [_zero_states(inner) for inner in cell.cells]
    return [np.zeros(size) for size in keras.tree.flatten(cell.state_size)]


def deep_output_oracle(layer):
    kernel, bias = (to_numpy(weight) for weight in layer.projection.weights)
    return decoder.deep_output(kernel, bias, layer.units, layer.pieces)


def decode(layer, x, memory, inputs_mask=None, memory_mask=None, states=None):
    """The oracle of a decoder with its weights: outputs, weights, and the last states."""
    score, cell = score_oracle(layer.attention.score), cell_oracle(layer.cell)
    alignment = alignment_oracle(layer.attention.alignment)
    inputs_mask = np.ones(x.shape[:2], bool) if inputs_mask is None else inputs_mask
    memory_mask = np.ones(memory.shape[:2], bool) if memory_mask is None else memory_mask
    results = []
    for b in range(len(x)):
        first = _zero_states(layer.cell)
        if states is not None:
            first = keras.tree.pack_sequence_as(first, [state[b] for state in states])

        def look(query, remembered, b=b):
            return attention.look(
                score, alignment, query, memory[b], memory[b], memory_mask[b], remembered
            )

        arguments = (cell, look, x[b], first, inputs_mask[b])
        emit = None if layer.readout is None else deep_output_oracle(layer.readout)
        if isinstance(layer, ka.BahdanauDecoder):
            outputs, weights, last = decoder.bahdanau(*arguments, emit)
        else:
            width = memory.shape[2]
            if layer.readout is not None:
                width = layer.readout.units
            elif layer.attention_layer is not None:
                kernel = to_numpy(layer.attention_layer.kernel)
                emit, width = decoder.attention_layer(kernel), kernel.shape[1]
            outputs, weights, last = decoder.luong(*arguments, width, emit, layer.input_feeding)
        results.append([outputs, weights, *keras.tree.flatten(last)])
    return [np.stack(parts) for parts in zip(*results, strict=True)]


def decoder_oracle(layer, inputs, masks):
    return decode(layer, inputs["inputs"].astype(float), inputs["memory"].astype(float), **masks)


def _decode_unweighted(layer, tensors, masks):
    silent = type(layer).from_config({**layer.get_config(), "return_attention_scores": False})
    silent(**tensors)
    silent.set_weights(layer.get_weights())
    return keras.tree.flatten(silent(**tensors, **masks))


def _decoder_row(name, holds, make, states, output=CELL, **more):
    return Row(
        name=name,
        holds=holds,
        make=lambda **kwargs: make(return_state=True, return_attention_scores=True, **kwargs),
        inputs={"inputs": ("T", QUERY), "memory": ("S", VALUE)},
        outputs={
            "output": ("T", output),
            "weights": ("T", "S"),
            **{f"state_{i}": (size,) for i, size in enumerate(states)},
        },
        oracle=decoder_oracle,
        call=lambda layer, tensors, masks: keras.tree.flatten(layer(**tensors, **masks)),
        unweighted=_decode_unweighted,
        masks={"inputs_mask": ("T",), "memory_mask": ("S",)},
        zero=("output", "weights"),
        empty=("weights",),
        limits=LOOP if len(states) == 1 else {**LOOP, **EMPTY_LSTM},  # or it has an LSTM cell
        **more,
    )


def _of(part_class, kwargs, **options):
    return part_class(dtype=kwargs.get("dtype"), **options)


def _stacked(dtype=None, **unused):
    cells = [keras.layers.GRUCell(FINAL, dtype=dtype), keras.layers.LSTMCell(CELL, dtype=dtype)]
    return keras.layers.StackedRNNCells(cells, dtype=dtype)


def _bahdanau(cell, dtype=None, **kwargs):
    return ka.BahdanauDecoder(cell, ka.BahdanauAttention(UNITS, dtype=dtype), dtype=dtype, **kwargs)


def _luong(cell, score="general", dtype=None, **kwargs):
    return ka.LuongDecoder(cell, ka.LuongAttention(score, dtype=dtype), dtype=dtype, **kwargs)


ROWS = [
    _decoder_row(
        "bahdanau_decoder_gru",
        (ka.BahdanauDecoder,),
        lambda **k: _bahdanau(keras.layers.GRUCell(CELL, dtype=k.get("dtype")), **k),
        [CELL],
    ),
    _decoder_row(
        "bahdanau_decoder_lstm",
        (ka.BahdanauDecoder,),
        lambda **k: _bahdanau(keras.layers.LSTMCell(CELL, dtype=k.get("dtype")), **k),
        [CELL, CELL],
    ),
    _decoder_row(
        "bahdanau_decoder_stacked",
        (ka.BahdanauDecoder,),
        lambda **k: _bahdanau(_stacked(**k), **k),
        [FINAL, CELL, CELL],
    ),
    _decoder_row(
        "luong_decoder_gru",
        (ka.LuongDecoder,),
        lambda **k: _luong(
            keras.layers.GRUCell(CELL, reset_after=False, dtype=k.get("dtype")),
            attention_layer_size=FINAL,
            **k,
        ),
        [CELL],
        output=FINAL,
    ),
    _decoder_row(
        "luong_decoder_no_layer",
        (ka.LuongDecoder,),
        lambda **k: _luong(keras.layers.SimpleRNNCell(CELL, dtype=k.get("dtype")), **k),
        [CELL],
        output=VALUE,
    ),
    *(
        _decoder_row(
            f"luong_decoder_fused_{name}",
            (ka.LuongDecoder,),
            lambda cell=cell, **k: _luong(
                cell(CELL, dtype=k.get("dtype")),
                attention_layer_size=FINAL,
                input_feeding=False,
                **k,
            ),
            [CELL] * states,
            output=FINAL,
        )
        for name, cell, states in [
            ("gru", keras.layers.GRUCell, 1),
            ("lstm", keras.layers.LSTMCell, 2),
            ("simple_rnn", keras.layers.SimpleRNNCell, 1),
        ]
    ),
    _decoder_row(
        "luong_decoder_unfed_stacked",
        (ka.LuongDecoder,),
        lambda **k: _luong(
            _stacked(**k), "concat", attention_layer_size=FINAL, input_feeding=False, **k
        ),
        [FINAL, CELL, CELL],
        output=FINAL,
    ),
    *(
        _decoder_row(
            f"luong_decoder_{name}",
            (ka.LuongDecoder, alignment),
            lambda alignment=alignment, options=options, feeding=feeding, **k: ka.LuongDecoder(
                keras.layers.GRUCell(CELL, dtype=k.get("dtype")),
                ka.LuongAttention("general", _of(alignment, k, **options), dtype=k.get("dtype")),
                attention_layer_size=FINAL,
                input_feeding=feeding,
                **k,
            ),
            [CELL],
            output=FINAL,
            normalized=False,
        )
        for name, alignment, options, feeding in [
            ("local_m", ka.alignments.LocalMonotonic, {"window": 1}, True),
            ("local_m_unfed", ka.alignments.LocalMonotonic, {"window": 1}, False),
            ("local_p", ka.alignments.LocalPredictive, {"units": UNITS, "window": 3}, True),
            ("monotonic_unfed", ka.alignments.Monotonic, {}, False),
        ]
    ),
    _decoder_row(
        "bahdanau_decoder_monotonic",
        (ka.BahdanauDecoder, ka.MonotonicAttention),
        lambda **k: ka.BahdanauDecoder(
            keras.layers.GRUCell(CELL, dtype=k.get("dtype")),
            ka.MonotonicAttention(mode="recursive", dtype=k.get("dtype")),
            **k,
        ),
        [CELL],
        normalized=False,
    ),
    _decoder_row(
        "bahdanau_decoder_deep_output",
        (ka.BahdanauDecoder, ka.DeepOutput),
        lambda **k: ka.BahdanauDecoder(
            keras.layers.GRUCell(CELL, dtype=k.get("dtype")),
            ka.BahdanauAttention(UNITS, dtype=k.get("dtype")),
            readout=ka.DeepOutput(FINAL, dtype=k.get("dtype")),
            **k,
        ),
        [CELL],
        output=FINAL,
    ),
    *(
        _decoder_row(
            f"luong_decoder_deep_output_{name}",
            (ka.LuongDecoder, ka.DeepOutput),
            lambda feeding=feeding, **k: _luong(
                keras.layers.GRUCell(CELL, dtype=k.get("dtype")),
                input_feeding=feeding,
                readout=ka.DeepOutput(FINAL, dtype=k.get("dtype")),
                **k,
            ),
            [CELL],
            output=FINAL,
        )
        for name, feeding in [("fed", True), ("unfed", False)]
    ),
]
