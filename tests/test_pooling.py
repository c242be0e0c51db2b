"""Attention pooling beyond the layer table: empty rows, errors, learning."""

import keras
import numpy as np
import pytest

import keras_attention as ka
from comparing import to_numpy

B, S, WIDTH, UNITS = 2, 5, 7, 11


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_an_empty_sequence_gives_zeros(policy):
    mask = np.array([[0, 0, 0, 0, 0], [1, 0, 1, 0, 0]], bool)
    layer = ka.AttentionPooling(UNITS, dtype=policy)
    context, weights = layer(normal(B, S, WIDTH), mask=mask, return_attention_scores=True)
    context, weights = to_numpy(context), to_numpy(weights)
    assert (context[0] == 0).all()
    np.testing.assert_array_equal(weights > 0, mask)
    assert np.isfinite(context).all()


def test_with_a_zero_context_vector_it_is_the_mean():
    """The mean of the unmasked steps, as `GlobalAveragePooling1D` returns it."""
    x, mask = normal(B, S, WIDTH), np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]], bool)
    layer = ka.AttentionPooling(UNITS)
    layer(x)
    layer.context_vector.assign(np.zeros(UNITS))
    wanted = keras.layers.GlobalAveragePooling1D()(x, mask=mask)
    np.testing.assert_allclose(to_numpy(layer(x, mask=mask)), to_numpy(wanted), atol=1e-6)


def test_names_and_shapes_of_weights_and_no_mask_afterwards():
    layer = ka.AttentionPooling(UNITS)
    context = layer(keras.layers.Masking()(normal(B, S, WIDTH)))
    assert ka.masks.implicit_mask(context) is None
    assert {weight.name: tuple(weight.shape) for weight in layer.weights} == {
        "kernel": (WIDTH, UNITS),
        "bias": (UNITS,),
        "context_vector": (UNITS,),
    }


ERRORS = {
    "units": (lambda: ka.AttentionPooling(0), ["`units`", "0", "at least 1"]),
    "rank": (
        lambda: ka.AttentionPooling(3)(normal(2, 3)),
        ["`inputs`", "(2, 3)", "(batch, steps, width)"],
    ),
    "symbolic_rank": (
        lambda: ka.AttentionPooling(3)(keras.Input((3, 5, 7))),
        ["`inputs`", "(None, 3, 5, 7)", "(batch, steps, width)"],
    ),
    "mask": (
        lambda: ka.AttentionPooling(3)(normal(2, 3, 5), mask=np.ones((2, 4), bool)),
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


@pytest.mark.parametrize("attentive", [True, False])
def test_it_learns_to_find_the_word_that_matters(attentive):
    """The class is the letter of the marked step, which a mean does not tell."""
    random = np.random.default_rng(7)
    examples, steps, letters = 768, 20, 6
    text = random.integers(0, letters, size=(examples, steps))
    marked = random.integers(0, steps, size=examples)
    marks = np.eye(steps)[marked][..., None]
    x = np.concatenate([np.eye(letters)[text], marks], axis=-1).astype("float32")
    target = text[np.arange(examples), marked]
    pooling = ka.AttentionPooling(8) if attentive else keras.layers.GlobalAveragePooling1D()
    model = keras.Sequential(
        [pooling, keras.layers.Dense(32, activation="relu"), keras.layers.Dense(letters)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"])
    split = 640
    model.fit(x[:split], target[:split], epochs=20, batch_size=32, verbose=0)
    accuracy = model.evaluate(x[split:], target[split:], verbose=0)[1]
    if attentive:
        assert accuracy > 0.97
    else:
        assert accuracy < 0.5
