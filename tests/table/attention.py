"""Rows of the layers that attend to a sequence with a score and an alignment."""

import keras_attention as ka
from comparing import to_numpy
from oracles import attention
from table.row import KEY, QUERY, UNITS, VALUE, Row


def score_oracle(score):
    """The oracle of a score layer, with its weights."""
    weights = {weight.name: to_numpy(weight) for weight in score.weights}
    match score:
        case ka.scores.Dot():
            return attention.dot
        case ka.scores.ScaledDot():
            return attention.scaled_dot
        case ka.scores.General():
            return attention.general(**weights)
        case ka.scores.Additive():
            return attention.additive(**weights)


def attention_oracle(layer, inputs, masks):
    query, value = inputs["query"], inputs["value"]
    shape = (*query.shape[:2], value.shape[1])
    allowed = attention.combine(shape, **masks)
    return attention.attend(score_oracle(layer.score), query, value, inputs.get("key"), allowed)


def _attention_row(name, holds, make, query=QUERY, value=VALUE, key=None):
    inputs = {"query": ("T", query), "value": ("S", value)}
    masks = {"query_mask": ("T",), "value_mask": ("S",), "attention_mask": ("T", "S")}
    if key:
        inputs["key"], masks["key_mask"] = ("S", key), ("S",)
    return Row(
        name=name,
        holds=holds,
        make=make,
        inputs=inputs,
        outputs={"context": ("T", value), "weights": ("T", "S")},
        oracle=attention_oracle,
        call=lambda layer, tensors, masks: layer(**tensors, **masks, return_attention_scores=True),
        unweighted=lambda layer, tensors, masks: [layer(**tensors, **masks)],
        masks=masks,
        zero=("context", "weights"),
        empty=("context", "weights"),
    )


ROWS = [
    _attention_row("dot", (ka.scores.Dot,), lambda **k: ka.Attention("dot", **k), value=QUERY),
    _attention_row(
        "scaled_dot",
        (ka.Attention, ka.scores.ScaledDot, ka.alignments.Softmax),
        lambda **k: ka.Attention(**k),
        key=QUERY,
    ),
    _attention_row(
        "general",
        (ka.scores.General,),
        lambda **k: ka.Attention(ka.scores.General(use_scale=True, **k), **k),
        key=KEY,
    ),
    _attention_row(
        "additive", (ka.scores.Additive,), lambda **k: ka.Attention("additive", **k), key=KEY
    ),
    _attention_row(
        "bahdanau", (ka.BahdanauAttention,), lambda **k: ka.BahdanauAttention(UNITS, **k)
    ),
    _attention_row(
        "bahdanau_normalized",
        (ka.BahdanauAttention,),
        lambda **k: ka.BahdanauAttention(UNITS, normalize=True, **k),
    ),
    _attention_row("luong", (ka.LuongAttention,), lambda **k: ka.LuongAttention(**k)),
    _attention_row(
        "luong_concat", (ka.LuongAttention,), lambda **k: ka.LuongAttention("concat", **k)
    ),
]
