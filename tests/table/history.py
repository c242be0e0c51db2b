"""Rows of the sequence layers that read their own past weights, alone and in a decoder."""

import dataclasses

import keras
import numpy as np

import keras_attention as ka
from comparing import to_numpy
from oracles import attention, history
from table.attention import ROWS as ATTENTION_ROWS
from table.decoders import ROWS as DECODER_ROWS
from table.decoders import cell_oracle
from table.row import CELL, EMPTY_FILTERS, LOOP, UNITS


def scores_oracle(layer):
    """The oracle of an attention layer's scores, with its weights."""
    weights = {weight.name: to_numpy(weight) for weight in layer.weights}
    if isinstance(layer, ka.LocationSensitiveAttention):
        return history.location(**weights, cumulative=layer.cumulative)
    return history.coverage(**weights)


def attention_oracle(layer, inputs, masks):
    query, value = inputs["query"], inputs["value"]
    allowed = attention.combine((*query.shape[:2], value.shape[1]), **masks)
    return history.attend(scores_oracle(layer), query, value, inputs.get("key"), allowed)


def decoder_oracle(layer, inputs, masks):
    x, memory = inputs["inputs"].astype(float), inputs["memory"].astype(float)
    inputs_mask = masks.get("inputs_mask", np.ones(x.shape[:2], bool))
    memory_mask = masks.get("memory_mask", np.ones(memory.shape[:2], bool))
    scores, cell = scores_oracle(layer.attention), cell_oracle(layer.cell)
    results = []
    for b in range(len(x)):
        first = [np.zeros(layer.cell.units)]
        outputs, weights, last = history.bahdanau(
            cell, scores, x[b], memory[b], first, inputs_mask[b], memory_mask[b]
        )
        results.append([outputs, weights, *last])
    return [np.stack(parts) for parts in zip(*results, strict=True)]


def _coverage(**kwargs):
    return ka.CoverageAttention(UNITS, **kwargs)


def _location(**kwargs):
    return ka.LocationSensitiveAttention(UNITS, filters=3, kernel_size=3, **kwargs)


def _cumulative(**kwargs):
    """An even kernel size, which looks one step further to the right, past most memories' end."""
    return ka.LocationSensitiveAttention(UNITS, 2, kernel_size=4, cumulative=True, **kwargs)


def _like(rows, like, **changes):
    (row,) = [row for row in rows if row.name == like]
    filters = EMPTY_FILTERS if ka.LocationSensitiveAttention in changes["holds"] else {}
    return dataclasses.replace(row, limits={**LOOP, **filters}, **changes)


def _attention_row(name, layer_class, make, like):
    return _like(
        ATTENTION_ROWS, like, name=name, holds=(layer_class,), make=make, oracle=attention_oracle
    )


def _decoder_row(name, layer_class, make):
    def decoder(dtype=None, **kwargs):
        return ka.BahdanauDecoder(
            keras.layers.GRUCell(CELL, dtype=dtype),
            make(dtype=dtype),
            return_state=True,
            return_attention_scores=True,
            dtype=dtype,
            **kwargs,
        )

    return _like(
        DECODER_ROWS,
        "bahdanau_decoder_gru",
        name=name,
        holds=(ka.BahdanauDecoder, layer_class),
        make=decoder,
        oracle=decoder_oracle,
    )


ROWS = [
    _attention_row("coverage", ka.CoverageAttention, _coverage, "additive"),
    _decoder_row("bahdanau_decoder_coverage", ka.CoverageAttention, _coverage),
    _attention_row("location", ka.LocationSensitiveAttention, _location, "additive"),
    _attention_row("location_cumulative", ka.LocationSensitiveAttention, _cumulative, "bahdanau"),
    _decoder_row("bahdanau_decoder_location", ka.LocationSensitiveAttention, _location),
]
