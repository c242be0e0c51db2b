"""Rows of the attention over pictures, as maps, as lists of places, and in a decoder."""

import keras
import numpy as np

import keras_attention as ka
from comparing import to_numpy
from oracles import attention, decoder
from table.decoders import cell_oracle
from table.row import CELL, EMPTY_LSTM, LOOP, QUERY, UNITS, VALUE, Row


def _hardest(row, allowed):
    """All weight on the highest score that is allowed."""
    weights = [0.0] * len(row)
    if any(allowed):
        weights[max((float(e), -i) for i, e in enumerate(row) if allowed[i])[1] * -1] = 1.0
    return weights


def _look(layer):
    """The oracle of a step: a function of query, places (L, C) and which of them are allowed."""
    score = attention.additive(**{w.name: to_numpy(w) for w in layer.score.weights})
    kernel, bias = (to_numpy(weight) for weight in layer.gate.weights)
    hard = isinstance(layer, ka.HardSpatialAttention)

    def look(query, places, allowed):
        row = [score(query, place) for place in places]
        weights = np.array(_hardest(row, allowed) if hard else attention.softmax_row(row, allowed))
        gate = 1 / (1 + np.exp(-(sum(query[i] * kernel[i, 0] for i in range(len(query))) + bias)))
        return gate * sum(w * place for w, place in zip(weights, places, strict=True)), weights

    return look


def spatial_oracle(layer, inputs, masks):
    query, value = inputs["query"].astype(float), inputs["value"].astype(float)
    places = value.reshape(len(value), -1, value.shape[-1])
    allowed = masks.get("value_mask", np.ones(value.shape[:-1], bool)).reshape(places.shape[:2])
    asked = masks.get("query_mask", np.ones(query.shape[:2], bool))
    look = _look(layer)
    results = [
        [look(q, places[b], allowed[b] & asked[b, t]) for t, q in enumerate(query[b])]
        for b in range(len(query))
    ]
    context = np.array([[step[0] for step in steps] for steps in results])
    weights = np.array([[step[1] for step in steps] for steps in results])
    return context, weights.reshape(*query.shape[:2], *value.shape[1:-1])


def decoder_oracle(layer, inputs, masks):
    x, maps = inputs["inputs"].astype(float), inputs["memory"].astype(float)
    memory = maps.reshape(len(maps), -1, maps.shape[-1])
    inputs_mask = masks.get("inputs_mask", np.ones(x.shape[:2], bool))
    memory_mask = masks.get("memory_mask", np.ones(maps.shape[:-1], bool))
    memory_mask = memory_mask.reshape(memory.shape[:2])
    cell, look = cell_oracle(layer.cell), _look(layer.attention)
    results = []
    for b in range(len(x)):
        outputs, weights, last = decoder.bahdanau(
            cell,
            lambda query, remembered, b=b: (*look(query, memory[b], memory_mask[b]), None),
            x[b],
            [np.zeros(size) for size in (CELL, CELL)],
            inputs_mask[b],
        )
        results.append([outputs, weights.reshape(len(x[b]), *maps.shape[1:-1]), *last])
    return [np.stack(parts) for parts in zip(*results, strict=True)]


def _spatial_row(name, layer_class, *parts, **more):
    def make(**kwargs):
        return layer_class(UNITS, *(part(kwargs.get("dtype")) for part in parts), **kwargs)

    return Row(
        name=name,
        holds=(layer_class, *(type(part(None)) for part in parts)),
        make=make,
        oracle=spatial_oracle,
        call=lambda layer, tensors, masks: layer(**tensors, **masks, return_attention_scores=True),
        unweighted=lambda layer, tensors, masks: [layer(**tensors, **masks)],
        zero=("context", "weights"),
        **more,
    )


MAPS = {
    "inputs": {"query": ("T", QUERY), "value": ("H", "W", VALUE)},
    "outputs": {"context": ("T", VALUE), "weights": ("T", "H", "W")},
    "masks": {"query_mask": ("T",), "value_mask": ("H", "W")},
    "weights": None,  # The mask contract is held by the rows of places.
}
PLACES = {
    "inputs": {"query": ("T", QUERY), "value": ("S", VALUE)},
    "outputs": {"context": ("T", VALUE), "weights": ("T", "S")},
    "masks": {"query_mask": ("T",), "value_mask": ("S",)},
    "empty": ("context", "weights"),
}
SCORE = ("query_kernel", "key_kernel", "score_vector")
# A draw passes no gradient to what it was drawn from. The mix does, and so does straight-through.
HARD = {"unlearned": SCORE, "draws": True}
ESTIMATED = {"estimated": SCORE, "draws": True}


def _drawn(dtype):
    return ka.alignments.Hard(expected_probability=0, dtype=dtype)


def _mixed(dtype):
    return ka.alignments.Hard(expected_probability=0.9, dtype=dtype)


def _straight(dtype):
    return ka.alignments.StraightThrough(dtype=dtype)


def _decoder_row(name, attention_class, *parts, axes=("H", "W"), **more):
    def make(**kwargs):
        dtype = kwargs.get("dtype")
        return ka.BahdanauDecoder(
            keras.layers.LSTMCell(CELL, dtype=dtype),
            attention_class(UNITS, *(part(dtype) for part in parts), dtype=dtype),
            return_state=True,
            return_attention_scores=True,
            **kwargs,
        )

    return Row(
        name=name,
        holds=(ka.BahdanauDecoder, attention_class, *(type(part(None)) for part in parts)),
        make=make,
        inputs={"inputs": ("T", QUERY), "memory": (*axes, VALUE)},
        outputs={
            "output": ("T", CELL),
            "weights": ("T", *axes),
            "state_0": (CELL,),
            "state_1": (CELL,),
        },
        oracle=decoder_oracle,
        call=lambda layer, tensors, masks: keras.tree.flatten(layer(**tensors, **masks)),
        masks={"inputs_mask": ("T",), "memory_mask": axes},
        zero=("output", "weights"),
        limits={**LOOP, **EMPTY_LSTM},
        **more,
    )


OVER_PLACES = {"axes": ("S",), "empty": ("weights",)}
OVER_MAPS = {"axes": ("H", "W"), "weights": None}

ROWS = [
    _spatial_row("soft_spatial_maps", ka.SoftSpatialAttention, **MAPS),
    _spatial_row("soft_spatial_places", ka.SoftSpatialAttention, **PLACES),
    _spatial_row("hard_spatial_maps", ka.HardSpatialAttention, _drawn, **HARD, **MAPS),
    _spatial_row("hard_spatial_places", ka.HardSpatialAttention, _drawn, **HARD, **PLACES),
    _spatial_row("straight_spatial_maps", ka.HardSpatialAttention, _straight, **ESTIMATED, **MAPS),
    _spatial_row(
        "straight_spatial_places", ka.HardSpatialAttention, _straight, **ESTIMATED, **PLACES
    ),
    _decoder_row("bahdanau_decoder_soft_spatial", ka.SoftSpatialAttention, **OVER_PLACES),
    _decoder_row("bahdanau_decoder_soft_spatial_maps", ka.SoftSpatialAttention, **OVER_MAPS),
    _decoder_row(
        "bahdanau_decoder_hard_spatial",
        ka.HardSpatialAttention,
        _mixed,
        **ESTIMATED,
        **OVER_PLACES,
    ),
]
