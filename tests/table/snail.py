"""Rows of SNAIL's blocks."""

import numpy as np

import keras_attention as ka
from comparing import to_numpy
from oracles import snail
from table.row import EMPTY_CONVOLUTION, FINAL, KEY, QUERY, UNITS, Row
from table.self_attention import AMONG_THEMSELVES, each, weights_of

DILATION_RATE = 1  # More does not fit the shortest sequences.
LONGEST = 7  # The longest of the padded sequences.
BLOCKS = 3  # With dilations 1, 2, 4.


def _sequence(inputs, masks):
    sequence = inputs["inputs"]
    return sequence, masks.get("mask", np.ones(sequence.shape[:2], bool))


def conv_oracle(layer, inputs, masks):
    return each(
        lambda x, mask: [snail.dense_block(x, mask, layer.dilation_rate, **weights_of(layer))],
        *_sequence(inputs, masks),
    )


def temporal_oracle(layer, inputs, masks):
    weights = [[to_numpy(weight) for weight in block.weights] for block in layer.blocks]
    return each(
        lambda x, mask: [snail.tc_block(x, mask, layer.sequence_length, weights)],
        *_sequence(inputs, masks),
    )


def attention_oracle(layer, inputs, masks):
    return each(snail.attention_block, *_sequence(inputs, masks), **weights_of(layer))


def _conv_row(name, width, **more):
    return Row(
        name=name,
        inputs={"inputs": ("T", QUERY)},
        outputs={"outputs": ("T", width)},
        call=lambda layer, tensors, masks: [layer(**tensors, **masks)],
        masks={"mask": ("T",)},
        weights=None,
        zero=("outputs",),
        limits=EMPTY_CONVOLUTION,
        **more,
    )


ROWS = [
    _conv_row(
        "causal_conv_block",
        QUERY + UNITS,
        holds=(ka.CausalConvBlock,),
        make=lambda **k: ka.CausalConvBlock(UNITS, DILATION_RATE, **k),
        oracle=conv_oracle,
    ),
    _conv_row(
        "temporal_conv_block",
        QUERY + BLOCKS * FINAL,
        holds=(ka.TemporalConvBlock, ka.CausalConvBlock),
        make=lambda **k: ka.TemporalConvBlock(FINAL, LONGEST, **k),
        oracle=temporal_oracle,
    ),
    Row(
        name="snail_attention_block",
        holds=(ka.SnailAttentionBlock,),
        make=lambda **k: ka.SnailAttentionBlock(UNITS, KEY, **k),
        inputs={"inputs": ("T", QUERY)},
        outputs={"outputs": ("T", QUERY + KEY), "weights": ("T", "T")},
        oracle=attention_oracle,
        call=lambda layer, tensors, masks: layer(**tensors, **masks, return_attention_scores=True),
        masks={"mask": ("T",)},
        memory="T",
        **{**AMONG_THEMSELVES, "zero": ("outputs", "weights")},
    ),
]
