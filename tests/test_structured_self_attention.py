"""Structured self-attention beyond the layer table: the penalty, errors, learning."""

import keras
import numpy as np
import pytest

import keras_attention as ka
from comparing import to_numpy
from oracles.self_attention import penalty

B, S, WIDTH, UNITS, HOPS = 2, 5, 7, 11, 3


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


# ---- The penalty


@pytest.mark.parametrize("masked", [True, False])
def test_the_penalty_is_the_mean_of_the_papers(masked):
    layer, x = ka.StructuredSelfAttention(UNITS, HOPS, penalty=0.7), normal(B, S, WIDTH)
    mask = np.array([[1, 1, 0, 0, 1], [1, 0, 0, 0, 0]], bool) if masked else None
    _, weights = layer(x, mask=mask, return_attention_scores=True)
    (loss,) = layer.losses
    wanted = 0.7 * np.mean([penalty(each) for each in to_numpy(weights)])
    assert float(loss) == pytest.approx(wanted, rel=1e-5)
    assert wanted > 0.1


def test_an_empty_example_adds_nothing_to_the_penalty():
    layer, x = ka.StructuredSelfAttention(UNITS, HOPS, penalty=1.0), normal(B, S, WIDTH)
    layer(x[:1])
    alone = float(layer.losses[0])
    means = layer(x, mask=np.array([[True] * S, [False] * S]))
    assert float(layer.losses[0]) == pytest.approx(alone / 2, rel=1e-5)
    assert (to_numpy(means)[1] == 0).all()


def test_without_a_penalty_there_is_no_loss():
    layer = ka.StructuredSelfAttention(UNITS, HOPS)
    layer(normal(B, S, WIDTH))
    assert layer.losses == []


@pytest.mark.parametrize(
    ("policy", "options"),
    [
        ("float32", {"run_eagerly": True}),
        ("float32", {"jit_compile": True}),
        ("mixed_float16", {}),
        ("mixed_bfloat16", {}),
    ],
)
def test_the_penalty_trains_hops_apart(policy, options):
    """A loss of the penalty alone decreases, for every way to compile the step."""
    sequence = keras.Input((None, WIDTH))
    layer = ka.StructuredSelfAttention(UNITS, HOPS, penalty=1.0, dtype=policy)
    model = keras.Model(sequence, layer(sequence))
    model.compile(keras.optimizers.Adam(0.03), **options)
    history = model.fit(normal(16, S, WIDTH), epochs=30, batch_size=16, verbose=0)
    losses = history.history["loss"]
    assert losses[0] > 1.0
    assert losses[-1] < 0.5 * losses[0]


# ---- Errors

LAYER = ka.StructuredSelfAttention
ERRORS = {
    "units": (lambda: LAYER(0, 3), ["`units`", "0", "at least 1"]),
    "hops": (lambda: LAYER(3, 1.5), ["`hops`", "1.5", "integer"]),
    "penalty": (lambda: LAYER(3, 5, penalty=-0.1), ["`penalty`", "-0.1", "at least 0"]),
    "penalty_text": (lambda: LAYER(3, 5, penalty="x"), ["`penalty`", "'x'", "number"]),
    "penalty_nan": (lambda: LAYER(3, 5, penalty=float("nan")), ["`penalty`", "nan", "number"]),
    "rank": (
        lambda: LAYER(3, 5)(normal(2, 3)),
        ["`inputs`", "(2, 3)", "(batch, steps, width)"],
    ),
    "mask": (
        lambda: LAYER(3, 5)(normal(2, 3, 5), mask=np.ones((2, 4), bool)),
        ["`mask`", "(2, 4)", "(2, 3)"],
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_argument_and_what_is_expected(name):
    act, words = ERRORS[name]
    with pytest.raises(ValueError, match="expected") as caught:
        act()
    for word in words:
        assert word in str(caught.value)


# ---- Learning


@pytest.mark.parametrize("hops", [2, None], ids=str)
def test_it_learns_to_find_two_words(hops):
    """Two steps are marked, each in its way; the letters there are asked for, in that order.

    A mean over all steps knows neither.
    """
    random = np.random.default_rng(7)
    examples, steps, letters = 768, 12, 5
    text = random.integers(0, letters, size=(examples, steps))
    places = np.stack([random.permutation(steps)[:2] for _ in range(examples)])
    marks = np.moveaxis(np.eye(steps)[places], 1, 2)  # (B, S, 2)
    x = np.concatenate([np.eye(letters)[text], marks], axis=-1).astype("float32")
    target = np.take_along_axis(text, places, axis=1)
    if hops:
        found = [ka.StructuredSelfAttention(8, hops, penalty=0.1), keras.layers.Flatten()]
    else:
        found = [keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(32, activation="relu")]
    head = [keras.layers.Dense(2 * letters), keras.layers.Reshape((2, letters))]
    model = keras.Sequential([*found, *head])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss, metrics=["accuracy"])
    split = 640
    model.fit(x[:split], target[:split], epochs=25, batch_size=32, verbose=0)
    accuracy = model.evaluate(x[split:], target[split:], verbose=0)[1]
    if hops:
        assert accuracy > 0.97
    else:
        assert accuracy < 0.5
