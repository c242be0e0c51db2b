"""Rows of Gaussian mixture attention, alone and in a decoder."""

import dataclasses

import keras
import numpy as np

import keras_attention as ka
from comparing import to_numpy
from oracles import attention, gaussian_mixture
from table import attention as attention_table
from table import decoders as decoder_table
from table.row import CELL, LOOP


def attention_oracle(layer, inputs, masks):
    query, value = inputs["query"].astype(float), inputs["value"].astype(float)
    allowed = attention.combine((*query.shape[:2], value.shape[1]), **masks)
    variables = to_numpy(layer.kernel), to_numpy(layer.bias)
    return gaussian_mixture.attend(query, value, allowed, *variables)


def decoder_oracle(layer, inputs, masks):
    x, memory = inputs["inputs"].astype(float), inputs["memory"].astype(float)
    inputs_mask = masks.get("inputs_mask", np.ones(x.shape[:2], bool))
    memory_mask = masks.get("memory_mask", np.ones(memory.shape[:2], bool))
    cell = decoder_table.cell_oracle(layer.cell)
    variables = to_numpy(layer.attention.kernel), to_numpy(layer.attention.bias)
    results = []
    for b in range(len(x)):
        first = [np.zeros(layer.cell.units)]
        outputs, weights, last = gaussian_mixture.bahdanau(
            cell, x[b], memory[b], first, inputs_mask[b], memory_mask[b], *variables
        )
        results.append([outputs, weights, *last])
    return [np.stack(parts) for parts in zip(*results, strict=True)]


def _attention(**kwargs):
    return ka.GaussianMixtureAttention(num_components=2, **kwargs)


def _decoder(dtype=None, **kwargs):
    return ka.BahdanauDecoder(
        keras.layers.GRUCell(CELL, dtype=dtype),
        _attention(dtype=dtype),
        return_state=True,
        return_attention_scores=True,
        dtype=dtype,
        **kwargs,
    )


def _like(rows, like, **changes):
    (row,) = [row for row in rows if row.name == like]
    return dataclasses.replace(row, normalized=False, **changes)


ROWS = [
    _like(
        attention_table.ROWS,
        "bahdanau",
        name="gaussian_mixture",
        holds=(ka.GaussianMixtureAttention,),
        make=_attention,
        oracle=attention_oracle,
    ),
    _like(
        decoder_table.ROWS,
        "bahdanau_decoder_gru",
        name="bahdanau_decoder_gaussian_mixture",
        holds=(ka.BahdanauDecoder, ka.GaussianMixtureAttention),
        make=_decoder,
        oracle=decoder_oracle,
        limits=LOOP,
    ),
]
