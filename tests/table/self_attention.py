"""Rows of the layers in which a sequence or a map attends to itself."""

import numpy as np

import keras_attention as ka
from comparing import to_numpy
from oracles import attention, self_attention
from table.row import CELL, FINAL, KEY, LOOP, QUERY, UNITS, VALUE, Row

# Small, so that random weights train: 2 is B in SIZES and T in OTHER_SIZES, never both.
HEADS, KEY_DIM = 2, 5
HOPS = 29

# A layer with a single input has one mask for queries and memory, which the generic tests of random
# masks do not support; the test files of these layers cover it.
AMONG_THEMSELVES = {"weights": None, "zero": ("weights",)}


def each(oracle, *batches, **constant):
    """Applies an oracle of one example to a batch, in float64, and stacks its results."""
    batches = [batch.astype(float) if batch.dtype.kind == "f" else batch for batch in batches]
    results = [oracle(*example, **constant) for example in zip(*batches, strict=True)]
    return [np.stack(parts) for parts in zip(*results, strict=True)]


def weights_of(layer):
    return {weight.name: to_numpy(weight) for weight in layer.trainable_weights}


def multi_head_oracle(layer, inputs, masks, causal=False):
    query = inputs["query"]
    value = inputs.get("value", query)
    masks = dict(masks)
    if "mask" in masks:
        masks["query_mask"] = masks["value_mask"] = masks.pop("mask")
    allowed = attention.combine((*query.shape[:2], value.shape[1]), **masks, causal=causal)
    if layer.window is not None:
        for t, s in np.ndindex(allowed.shape[1:]):
            allowed[:, t, s] &= abs(t - s) <= layer.window
    return each(
        lambda query, value, key, allowed: self_attention.multi_head(
            query, value, allowed, layer.num_heads, key=key, **weights_of(layer)
        ),
        query,
        value,
        inputs.get("key", value),
        allowed,
    )


def _multi_head_row(name, inputs, masks, memory, output=QUERY, causal=False, make=None):
    def call(layer, tensors, masks):
        return layer(**tensors, **masks, use_causal_mask=causal, return_attention_scores=True)

    def unweighted(layer, tensors, masks):
        return [layer(**tensors, **masks, use_causal_mask=causal)]

    return Row(
        name=name,
        holds=(ka.SelfAttention,),
        make=make,
        inputs=inputs,
        outputs={"output": ("T", output), "weights": (HEADS, "T", memory)},
        oracle=lambda layer, inputs, masks: multi_head_oracle(layer, inputs, masks, causal),
        call=call,
        masks=masks,
        memory=memory,
        **(AMONG_THEMSELVES if memory == "T" else {"unweighted": unweighted}),
    )


def pooling_oracle(layer, inputs, masks):
    sequence = inputs["inputs"]
    mask = masks.get("mask", np.ones(sequence.shape[:2], bool))
    return each(self_attention.pooling, sequence, mask, **weights_of(layer))


def structured_oracle(layer, inputs, masks):
    sequence = inputs["inputs"]
    mask = masks.get("mask", np.ones(sequence.shape[:2], bool))
    return each(self_attention.structured, sequence, mask, **weights_of(layer))


def sagan_oracle(layer, inputs, masks):
    return each(self_attention.sagan, inputs["inputs"], **weights_of(layer))


def intra_oracle(layer, inputs, masks):
    sequence = inputs["inputs"]
    mask = masks.get("mask", np.ones(sequence.shape[:2], bool))
    return each(self_attention.lstmn, sequence, mask, **weights_of(layer))


def _call(layer, tensors, masks):
    return layer(**tensors, **masks, return_attention_scores=True)


def _unweighted(layer, tensors, masks):
    return [layer(**tensors, **masks)]


ROWS = [
    _multi_head_row(
        "self_attention",
        {"query": ("T", QUERY)},
        {"mask": ("T",), "attention_mask": ("T", "T")},
        "T",
        make=lambda **k: ka.SelfAttention(HEADS, KEY_DIM, **k),
    ),
    _multi_head_row(
        "self_attention_local_causal",
        {"query": ("T", QUERY)},
        {"mask": ("T",)},
        "T",
        causal=True,
        make=lambda **k: ka.SelfAttention(HEADS, KEY_DIM, use_bias=False, window=1, **k),
    ),
    _multi_head_row(
        "self_attention_across",
        {"query": ("T", QUERY), "value": ("S", VALUE), "key": ("S", KEY)},
        {
            "query_mask": ("T",),
            "value_mask": ("S",),
            "key_mask": ("S",),
            "attention_mask": ("T", "S"),
        },
        "S",
        output=FINAL,
        make=lambda **k: ka.SelfAttention(HEADS, KEY_DIM, value_dim=3, output_shape=FINAL, **k),
    ),
    Row(
        name="attention_pooling",
        holds=(ka.AttentionPooling,),
        make=lambda **k: ka.AttentionPooling(UNITS, **k),
        inputs={"inputs": ("S", VALUE)},
        outputs={"context": (VALUE,), "weights": ("S",)},
        oracle=pooling_oracle,
        call=_call,
        unweighted=_unweighted,
        masks={"mask": ("S",)},
    ),
    Row(
        name="structured_self_attention",
        holds=(ka.StructuredSelfAttention,),
        make=lambda **k: ka.StructuredSelfAttention(UNITS, HOPS, penalty=0.1, **k),
        inputs={"inputs": ("S", VALUE)},
        outputs={"means": (HOPS, VALUE), "weights": (HOPS, "S")},
        oracle=structured_oracle,
        call=_call,
        unweighted=_unweighted,
        masks={"mask": ("S",)},
    ),
    Row(
        name="self_attention_2d",
        holds=(ka.SelfAttention2D,),
        make=lambda **k: ka.SelfAttention2D(reduction=3, **k),
        inputs={"inputs": ("H", "W", VALUE)},
        outputs={"outputs": ("H", "W", VALUE), "weights": ("H", "W", "H", "W")},
        oracle=sagan_oracle,
        call=_call,
        weights=None,
    ),
    Row(
        name="intra_attention",
        holds=(ka.IntraAttention,),
        make=lambda **k: ka.IntraAttention(CELL, **k),
        inputs={"inputs": ("T", QUERY)},
        outputs={"hidden": ("T", CELL), "weights": ("T", "T")},
        oracle=intra_oracle,
        call=_call,
        masks={"mask": ("T",)},
        memory="T",
        **{**AMONG_THEMSELVES, "zero": ("hidden", "weights")},
        limits=LOOP,
    ),
]
