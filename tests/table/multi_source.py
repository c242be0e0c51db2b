"""Rows of several attentions in one decoder, over memories of different widths."""

import keras
import numpy as np

import keras_attention as ka
from comparing import to_numpy
from oracles import attention, decoder
from table.attention import alignment_oracle, score_oracle
from table.decoders import cell_oracle
from table.row import CELL, FINAL, KEY, LOOP, QUERY, UNITS, VALUE, Row


def _looks(layer, memories, allowed):
    """The oracle of a step over all memories, whose contexts are side by side."""
    parts = [
        (score_oracle(part.score), alignment_oracle(part.alignment))
        for part in layer.attention.attentions
    ]

    def look(query, remembered):
        steps = [
            attention.look(score, alignment, query, memory, memory, mask, last)
            for (score, alignment), memory, mask, last in zip(
                parts, memories, allowed, remembered or [None] * len(parts), strict=True
            )
        ]
        contexts, weights, following = zip(*steps, strict=True)
        return np.concatenate(contexts), np.concatenate(weights), following

    return look


def multi_source_oracle(layer, inputs, masks):
    x, *memories = (inputs[name].astype(float) for name in ("inputs", "memory", "other"))
    read = masks.get("inputs_mask", np.ones(x.shape[:2], bool))
    allowed = [
        masks.get(name, np.ones(memory.shape[:2], bool))
        for name, memory in zip(("memory_mask", "other_mask"), memories, strict=True)
    ]
    cell, results = cell_oracle(layer.cell), []
    for b in range(len(x)):
        look = _looks(layer, [m[b] for m in memories], [mask[b] for mask in allowed])
        if isinstance(layer, ka.BahdanauDecoder):
            outputs, _, last = decoder.bahdanau(cell, look, x[b], [np.zeros(CELL)], read[b])
        else:
            emit = decoder.attention_layer(to_numpy(layer.attention_layer.kernel))
            outputs, _, last = decoder.luong(
                cell, look, x[b], [np.zeros(CELL)], read[b], FINAL, emit, layer.input_feeding
            )
        results.append([outputs, *last])
    return [np.stack(parts) for parts in zip(*results, strict=True)]


def _attentions(dtype):
    monotonic = ka.MonotonicAttention(mode="recursive", dtype=dtype)
    return ka.MultiSourceAttention([ka.BahdanauAttention(UNITS, dtype=dtype), monotonic])


def _call(layer, tensors, masks):
    given = [masks.get("memory_mask"), masks.get("other_mask")]
    return layer(
        tensors["inputs"],
        [tensors["memory"], tensors["other"]],
        inputs_mask=masks.get("inputs_mask"),
        # Keras fills in the masks of the tensors where none is given.
        memory_mask=given if any(mask is not None for mask in given) else None,
    )


def _row(name, decoder_class, make, output):
    return Row(
        name=name,
        holds=(decoder_class, ka.MultiSourceAttention),
        make=lambda **k: make(
            keras.layers.GRUCell(CELL, dtype=k.get("dtype")), return_state=True, **k
        ),
        inputs={"inputs": ("T", QUERY), "memory": ("S", VALUE), "other": ("S", KEY)},
        outputs={"output": ("T", output), "state_0": (CELL,)},
        oracle=multi_source_oracle,
        call=_call,
        masks={"inputs_mask": ("T",), "memory_mask": ("S",), "other_mask": ("S",)},
        weights=None,
        zero=("output",),
        limits=LOOP,
    )


ROWS = [
    _row(
        "bahdanau_decoder_two_memories",
        ka.BahdanauDecoder,
        lambda cell, **k: ka.BahdanauDecoder(cell, _attentions(k.get("dtype")), **k),
        CELL,
    ),
    _row(
        "luong_decoder_two_memories",
        ka.LuongDecoder,
        lambda cell, **k: ka.LuongDecoder(
            cell, _attentions(k.get("dtype")), attention_layer_size=FINAL, **k
        ),
        FINAL,
    ),
]
