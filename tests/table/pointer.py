"""Rows of the pointer layers."""

import numpy as np
from keras import ops

import keras_attention as ka
from comparing import to_numpy
from oracles import attention, pointer
from table.attention import score_oracle
from table.row import QUERY, UNITS, VALUE, Row

WORDS, EXTRA = 5, 3


def pointer_oracle(layer, inputs, masks):
    query, value = inputs["query"], inputs["value"]
    allowed = attention.combine((*query.shape[:2], value.shape[1]), **masks)
    return [pointer.point(score_oracle(layer.score), query, value, allowed)]


# The mixture is tested after a dot-product attention without variables. Its query (B, T, D) is also
# the decoder's output, and the first entries of the query are P_vocab's logits.


def generate(layer, tensors, masks):
    query, value = (ops.convert_to_tensor(tensors[name]) for name in ("query", "value"))
    value_mask = masks.get("value_mask", ka.masks.implicit_mask(tensors["value"]))
    scores = ops.einsum("btd,bsd->bts", query, value)
    weights = ka.masks.masked_softmax(scores, ka.masks.combine(value_mask=value_mask))
    words = ops.softmax(query[:, :, :WORDS], axis=-1)
    # Ids 4, 7, 1, 4, 7, ...: a repeated word, an extra word, and an id beyond all words if S > 3.
    positions = ops.cumsum(ops.ones_like(value[:, :, 0]), axis=1)
    source_ids = ops.cast((positions * 3 + 1) % 9, "int32")
    return [layer(words, weights, source_ids, ops.matmul(weights, value), query, query[:, :, 1:])]


def generator_oracle(layer, inputs, masks):
    query, value = (inputs[name].astype(float) for name in ("query", "value"))
    shape = (*query.shape[:2], value.shape[1])
    allowed = attention.combine(shape, **masks)
    context, weights = attention.attend(attention.dot, query, value, mask=allowed)
    words = attention.masked_softmax(query[:, :, :WORDS])
    source_ids = [(3 * position + 1) % 9 for position in range(1, shape[2] + 1)]
    kernels = {weight.name: to_numpy(weight) for weight in layer.weights}
    result = np.zeros((*shape[:2], WORDS + EXTRA))
    for b, t in np.ndindex(shape[:2]):
        rows = (words[b, t], weights[b, t], source_ids, context[b, t], query[b, t], query[b, t, 1:])
        result[b, t] = pointer.mixture(*rows, EXTRA, **kernels)
    return [result]


ROWS = [
    Row(
        name="pointer",
        holds=(ka.PointerAttention,),
        make=lambda **k: ka.PointerAttention(UNITS, **k),
        inputs={"query": ("T", QUERY), "value": ("S", VALUE)},
        outputs={"weights": ("T", "S")},
        oracle=pointer_oracle,
        call=lambda layer, tensors, masks: [layer(**tensors, **masks)],
        masks={"query_mask": ("T",), "value_mask": ("S",), "attention_mask": ("T", "S")},
        zero=("weights",),
        empty=("weights",),
    ),
    Row(
        name="pointer_generator",
        holds=(ka.PointerGenerator,),
        make=lambda **k: ka.PointerGenerator(EXTRA, **k),
        inputs={"query": ("T", QUERY), "value": ("S", QUERY)},
        outputs={"probabilities": ("T", WORDS + EXTRA)},
        oracle=generator_oracle,
        call=generate,
        masks={"value_mask": ("S",)},
        weights=None,
    ),
]
