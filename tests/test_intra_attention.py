"""The LSTMN beyond the layer table: causality, masks, long sequences, errors, learning."""

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

import keras_attention as ka
from comparing import assert_close, numbers, to_numpy
from table.self_attention import intra_oracle

B, T, WIDTH, UNITS = 3, 7, 5, 11
POLICIES = ["float32", "mixed_float16", "mixed_bfloat16"]


def normal(*shape, seed=5):
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype("float32")


def test_no_step_attends_to_itself_or_later_steps():
    layer, x, changed = ka.IntraAttention(UNITS), normal(B, T, WIDTH), normal(B, T, WIDTH, seed=6)
    changed[:, :4] = x[:, :4]
    before, after = (numbers(layer(y, return_attention_scores=True)) for y in (x, changed))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one[:, :4], other[:, :4])
    assert (np.abs(before[0] - after[0]).max(axis=(0, 2))[4:] > 1e-3).all()
    weights = before[1]
    assert (weights[:, *np.triu_indices(T)] == 0).all()
    np.testing.assert_allclose(weights.sum(axis=2)[:, 1:], 1, atol=1e-6)


def test_the_first_step_is_that_of_an_lstm():
    """With an empty tape h~ and c~ are zero."""
    layer, x = ka.IntraAttention(UNITS), normal(B, 1, WIDTH)
    peer = keras.layers.LSTM(UNITS, return_sequences=True)
    states = layer(x)
    peer(x)
    # Keras orders the gates i, f, c, o.
    enter, forget, leave, candidate = np.split(to_numpy(layer.kernel)[UNITS:], 4, axis=1)
    kernel, recurrent_kernel, bias = peer.get_weights()
    kernel = np.concatenate([enter, forget, candidate, leave], axis=1)
    peer.set_weights([kernel, recurrent_kernel, bias])
    np.testing.assert_allclose(to_numpy(states), to_numpy(peer(x)), atol=1e-6)


@hypothesis.given(seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.2, 0.6, 1.0]))
@hypothesis.settings(max_examples=20)
def test_random_masks_equal_the_oracle(seed, share):
    layer = ka.IntraAttention(UNITS)
    x, mask = normal(B, T, WIDTH), np.random.default_rng(seed).uniform(size=(B, T)) < share
    hidden, weights = numbers(layer(x, mask=mask, return_attention_scores=True))
    assert_close([hidden, weights], intra_oracle(layer, {"inputs": x}, {"mask": mask}))
    assert (hidden[~mask] == 0).all()
    assert (weights[~mask] == 0).all()
    assert (np.moveaxis(weights, 1, 2)[~mask] == 0).all()


@pytest.mark.each_value
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_masked_steps_have_no_gradient_and_nothing_is_nan(policy, scale):
    layer, x = ka.IntraAttention(UNITS, dtype=policy), scale * normal(B, T, WIDTH)
    mask = np.random.default_rng(3).uniform(size=(B, T)) < 0.5
    mask[0] = False
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        results = layer(x, mask=mask, return_attention_scores=True)
        loss = tf.add_n([tf.reduce_sum(tf.cast(result, "float32")) for result in results])
    gradients = tape.gradient(loss, [x, *(weight.value for weight in layer.trainable_weights)])
    gradients = numbers([tf.convert_to_tensor(gradient) for gradient in gradients])
    hidden, weights = numbers(results)
    assert all(np.isfinite(values).all() for values in [hidden, weights, *gradients])
    assert (hidden[~mask] == 0).all()
    # The first unmasked step has no past.
    may = np.tri(T, k=-1, dtype=bool) & mask[:, None] & mask[:, :, None]
    assert (weights[~may] == 0).all()
    sums = weights.sum(axis=2)[may.any(axis=2)]
    np.testing.assert_allclose(sums, 1, atol=1e-5 if policy == "float32" else 2e-2)
    assert (gradients[0][~mask] == 0).all()
    assert (gradients[0][mask] != 0).any()


def test_removing_steps_equals_masking_them():
    layer, x = ka.IntraAttention(UNITS), normal(1, T, WIDTH)
    mask = np.array([[0, 1, 1, 0, 0, 1, 1]], bool)
    wanted = to_numpy(layer(x[:, mask[0]]))
    for output in (
        layer(x, mask=mask),
        layer(keras.layers.Masking()(np.where(mask[..., None], x, 0))),
    ):
        np.testing.assert_allclose(to_numpy(output)[:, mask[0]], wanted, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_the_tapes_are_as_long_as_the_sequence_in_every_precision(policy):
    """bfloat16 rounds integers above 256."""
    layer, steps = ka.IntraAttention(3, dtype=policy), 300
    _, weights = layer(normal(1, steps, WIDTH), return_attention_scores=True)
    seen = to_numpy(weights)[0] > 0
    np.testing.assert_array_equal(seen, np.tri(steps, k=-1, dtype=bool))


def test_names_and_shapes_of_weights():
    """Old checkpoints are converted by these names: they must not change."""
    layer = ka.IntraAttention(UNITS)
    layer(normal(B, T, WIDTH))
    assert {weight.name: tuple(weight.shape) for weight in layer.weights} == {
        "hidden_kernel": (UNITS, UNITS),
        "input_kernel": (WIDTH, UNITS),
        "summary_kernel": (UNITS, UNITS),
        "score_vector": (UNITS,),
        "kernel": (UNITS + WIDTH, 4 * UNITS),
        "bias": (4 * UNITS,),
    }
    bias = np.split(to_numpy(layer.bias), 4)
    assert [set(part) for part in bias] == [{0}, {1}, {0}, {0}]


def test_returning_the_weights_does_not_change_the_output():
    layer, x = ka.IntraAttention(UNITS), normal(B, T, WIDTH)
    hidden, _ = layer(x, return_attention_scores=True)
    np.testing.assert_array_equal(to_numpy(layer(x)), to_numpy(hidden))


ERRORS = {
    "units": (lambda: ka.IntraAttention(0), ["`units`", "0", "at least 1"]),
    "rank": (
        lambda: ka.IntraAttention(3)(normal(2, 3)),
        ["`inputs`", "(2, 3)", "(batch, steps, width)"],
    ),
    "symbolic_rank": (
        lambda: ka.IntraAttention(3)(keras.Input((3,))),
        ["`inputs`", "(None, 3)", "(batch, steps, width)"],
    ),
    "mask": (
        lambda: ka.IntraAttention(3)(normal(2, 3, 5), mask=np.ones((2, 4), bool)),
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
def test_it_learns_to_remember(attentive):
    """At the end, the reader says the letter that was marked: on a tape it is one look away.

    An LSTM, which has but its last state, does not get there in the same time.
    """
    random = np.random.default_rng(7)
    examples, steps, letters = 640, 25, 6
    text = random.integers(0, letters, size=(examples, steps))
    marked = random.integers(0, steps - 1, size=examples)
    marks = np.eye(steps)[marked][..., None]
    x = np.concatenate([np.eye(letters)[text], marks], axis=-1).astype("float32")
    target = text[np.arange(examples), marked]
    layers = keras.layers
    reader = ka.IntraAttention(16) if attentive else layers.LSTM(16, return_sequences=True)
    last = [layers.Cropping1D((steps - 1, 0)), layers.Flatten()]
    model = keras.Sequential([reader, *last, layers.Dense(letters)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss, metrics=["accuracy"])
    split = 512
    model.fit(x[:split], target[:split], epochs=5, batch_size=32, verbose=0)
    accuracy = model.evaluate(x[split:], target[split:], verbose=0)[1]
    if attentive:
        assert accuracy > 0.95
    else:
        assert accuracy < 0.6
