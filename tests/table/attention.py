"""Rows of the layers that attend to a sequence with a score and an alignment."""

import functools

import keras_attention as ka
from comparing import to_numpy
from oracles import alignments, attention
from table.row import KEY, LOOP, QUERY, UNITS, VALUE, Row

# A function per score of its weights to its oracle.
SCORE_ORACLES = {
    ka.scores.Dot: lambda: attention.dot,
    ka.scores.ScaledDot: lambda: attention.scaled_dot,
    ka.scores.General: attention.general,
    ka.scores.Additive: attention.additive,
    ka.scores.Location: attention.location,
    ka.scores.Cosine: attention.cosine,
}


def score_oracle(score):
    """The oracle of a score layer, with its weights."""
    return SCORE_ORACLES[type(score)](**{w.name: to_numpy(w) for w in score.weights})


# Functions per alignment of (layer, row, allowed, query, step, last weights), and its weights.
ALIGNMENT_ORACLES = {
    ka.alignments.Softmax: lambda layer, row, allowed, query, t, last: attention.softmax_row(
        row, allowed
    ),
    ka.alignments.Sparsemax: lambda layer, row, allowed, *_: alignments.sparsemax(row, allowed),
    ka.alignments.Entmax15: lambda layer, row, allowed, *_: alignments.entmax15(row, allowed),
    ka.alignments.LocalMonotonic: lambda layer, row, allowed, query, t, last: attention.softmax_row(
        row, alignments.in_window(allowed, t, layer.window)
    ),
    ka.alignments.LocalPredictive: lambda layer, *of_step, **weights: _local_predictive(
        layer.window, *of_step, **weights
    ),
    ka.alignments.Monotonic: lambda layer, row, allowed, query, t, last, bias: alignments.monotonic(
        row, allowed, last, float(bias)
    ),
}


def alignment_oracle(alignment):
    """The oracle of an alignment layer: a function of row, allowed, query, step, last weights."""
    weights = {weight.name: to_numpy(weight) for weight in alignment.weights}
    return functools.partial(ALIGNMENT_ORACLES[type(alignment)], alignment, **weights)


def _local_predictive(window, row, allowed, query, t, last, position_kernel, position_vector):
    position = alignments.predicted_position(query, position_kernel, position_vector, allowed)
    near = alignments.in_window(allowed, position, window)
    return alignments.gaussian(attention.softmax_row(row, near), position, window)


def attention_oracle(layer, inputs, masks):
    query, value = inputs["query"], inputs["value"]
    shape = (*query.shape[:2], value.shape[1])
    allowed = attention.combine(shape, **masks)
    score, alignment = score_oracle(layer.score), alignment_oracle(layer.alignment)
    return attention.attend(score, query, value, inputs.get("key"), allowed, alignment)


def attention_row(
    name, holds, make, query=QUERY, value=VALUE, key=None, oracle=attention_oracle, **more
):
    """The row of a layer that is called as `ka.Attention` is, with all its masks."""
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
        oracle=oracle,
        call=lambda layer, tensors, masks: layer(**tensors, **masks, return_attention_scores=True),
        unweighted=lambda layer, tensors, masks: [layer(**tensors, **masks)],
        masks=masks,
        zero=("context", "weights"),
        empty=("context", "weights"),
        **more,
    )


_LUONG_SCORES = {
    "dot": ka.scores.Dot,
    "general": ka.scores.General,
    "concat": lambda **k: ka.scores.Additive(UNITS, **k),
    "location": lambda **k: ka.scores.Location(max_length=9, **k),
}

ROWS = [
    attention_row("dot", (ka.scores.Dot,), lambda **k: ka.Attention("dot", **k), value=QUERY),
    attention_row(
        "scaled_dot",
        (ka.Attention, ka.scores.ScaledDot, ka.alignments.Softmax),
        lambda **k: ka.Attention(**k),
        key=QUERY,
    ),
    attention_row(
        "general",
        (ka.scores.General,),
        lambda **k: ka.Attention(ka.scores.General(use_scale=True, **k), **k),
        key=KEY,
    ),
    attention_row(
        "additive", (ka.scores.Additive,), lambda **k: ka.Attention("additive", **k), key=KEY
    ),
    attention_row(
        "bahdanau", (ka.BahdanauAttention,), lambda **k: ka.BahdanauAttention(UNITS, **k)
    ),
    attention_row(
        "bahdanau_normalized",
        (ka.BahdanauAttention,),
        lambda **k: ka.BahdanauAttention(UNITS, normalize=True, **k),
    ),
    attention_row("luong", (ka.LuongAttention,), lambda **k: ka.LuongAttention(**k)),
    attention_row(
        "luong_concat", (ka.LuongAttention,), lambda **k: ka.LuongAttention("concat", **k)
    ),
    attention_row(
        "cosine", (ka.scores.Cosine,), lambda **k: ka.Attention("cosine", **k), value=QUERY
    ),
    attention_row(
        "luong_location",
        (ka.LuongAttention, ka.scores.Location),
        lambda **k: ka.LuongAttention(ka.scores.Location(max_length=9, **k), **k),
    ),
    attention_row(
        "sparsemax",
        (ka.Attention, ka.alignments.Sparsemax),
        # Of larger scores the weights are all 0 or 1, and do not move.
        lambda **k: ka.Attention("scaled_dot", "sparsemax", **k),
        key=QUERY,
    ),
    attention_row(
        "entmax15",
        (ka.Attention, ka.alignments.Entmax15),
        # As above; how large depends on the draws of the layers around it.
        lambda **k: ka.Attention("scaled_dot", "entmax15", **k),
        key=QUERY,
    ),
    *(
        attention_row(
            f"luong_{name}_{score}",
            (ka.LuongAttention, alignment),
            lambda score=score, alignment=alignment, options=options, **k: ka.LuongAttention(
                _LUONG_SCORES[score](**k), alignment(**options, **k), **k
            ),
            value=QUERY,
            normalized=False,
        )
        for score in _LUONG_SCORES
        for name, alignment, options in [
            ("local_m", ka.alignments.LocalMonotonic, {"window": 2}),
            ("local_p", ka.alignments.LocalPredictive, {"units": UNITS, "window": 3}),
        ]
    ),
    *(
        attention_row(
            f"monotonic_{mode}",
            (ka.MonotonicAttention, ka.alignments.Monotonic),
            lambda mode=mode, **k: ka.MonotonicAttention(
                ka.scores.Additive(UNITS, normalize=True, **k), mode, **k
            ),
            key=KEY,
            normalized=False,
            limits=LOOP,
        )
        for mode in ("parallel", "recursive")
    ),
]
