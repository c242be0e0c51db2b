"""SNAIL's blocks beyond the layer table: receptive fields, padding in front, errors."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka
from comparing import assert_close, numbers, to_numpy
from keras_attention._ops import dot_product_attention as entry

WIDTH = 3
BLOCKS = {
    "causal_conv": lambda length, **k: ka.CausalConvBlock(5, length // 2, **k),
    "temporal_conv": lambda length, **k: ka.TemporalConvBlock(5, length, **k),
    "attention": lambda length, **k: ka.SnailAttentionBlock(5, 7, **k),
}


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def receptive_field(layer, length):
    """(T, T): whether the outputs of step t have a gradient by the inputs of step s."""
    x = tf.constant(normal(1, length, WIDTH))
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = tf.reduce_sum(layer(x), axis=(0, 2))  # (T,)
    return np.abs(to_numpy(tape.jacobian(outputs, x))).sum(axis=(1, 3)) > 0


# ---- Receptive fields


@pytest.mark.parametrize("name", BLOCKS)
def test_a_change_changes_nothing_before_it(name):
    length = 11
    layer, x = BLOCKS[name](length, dtype="float64"), normal(2, length, WIDTH)
    before = to_numpy(layer(x))
    for t in range(length):
        changed = x.copy()
        changed[:, t] += 1.0
        after = to_numpy(layer(changed))
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert np.abs(after[:, t] - before[:, t]).max() > 0.1


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33])
def test_each_step_depends_on_its_whole_past_only(length):
    layer = ka.TemporalConvBlock(5, length, dtype="float64")
    np.testing.assert_array_equal(receptive_field(layer, length), np.tri(length, dtype=bool))
    assert len(layer.blocks) == math.ceil(math.log2(length))


@pytest.mark.parametrize("length", [5, 8])
def test_no_dense_block_of_a_temporal_block_is_superfluous(length):
    layer = ka.TemporalConvBlock(5, length, dtype="float64")
    without_the_last = keras.Sequential(
        [ka.CausalConvBlock(5, block.dilation_rate, dtype="float64") for block in layer.blocks[:-1]]
    )
    assert not receptive_field(without_the_last, length)[-1, 0]


def test_the_dilations_of_the_listing_leave_gaps():
    """With 2, 4, 8 instead of 1, 2, 4 a step depends on every other step."""
    listing = keras.Sequential([ka.CausalConvBlock(5, 2**i, dtype="float64") for i in (1, 2, 3)])
    distances = np.arange(9)[:, None] - np.arange(9)
    np.testing.assert_array_equal(
        receptive_field(listing, 9), np.tri(9, dtype=bool) & (distances % 2 == 0)
    )


def test_a_dense_block_depends_on_two_steps():
    distances = np.arange(7)[:, None] - np.arange(7)
    layer = ka.CausalConvBlock(5, 3, dtype="float64")
    np.testing.assert_array_equal(receptive_field(layer, 7), (distances == 0) | (distances == 3))


def test_a_dilation_is_that_of_the_equation():
    layer, x = ka.CausalConvBlock(5, 3, dtype="float64"), normal(2, 7, WIDTH)
    outputs = to_numpy(layer(x))
    layer.convolution.bias.assign(normal(10))
    kernel, before = to_numpy(layer.convolution.kernel), np.pad(x, [(0, 0), (3, 0), (0, 0)])[:, :7]
    x_f, x_g = np.split(before @ kernel[0] + x @ kernel[1] + normal(10), 2, axis=2)
    wanted = np.concatenate([x, np.tanh(x_f) / (1 + np.exp(-x_g))], axis=2)
    assert_close([to_numpy(layer(x))], [wanted], 1e-10)
    assert np.abs(outputs - wanted).max() > 1e-3


@pytest.mark.parametrize("length", [1, 2, 5])
def test_shorter_sequences_than_the_block_was_made_for(length):
    """They give the first outputs of a longer one, even if a dilation exceeds their length."""
    layer, x = ka.TemporalConvBlock(5, 11), normal(2, 11, WIDTH)
    whole = numbers(layer(x[:, :length])), numbers(layer(x)[:, :length])
    assert_close(*whole, atol=1e-6)


# ---- Masks


@pytest.mark.parametrize("name", BLOCKS)
def test_padding_in_front_changes_nothing(name):
    """Padding acts like the zeros before the first step, through a whole model."""
    length, front = 7, 3
    layers = [BLOCKS[key](length + front, dtype="float64") for key in (name, "temporal_conv")]

    def run(x, mask):
        for layer in layers:
            x = layer(x, mask=mask)
        return x

    x, everything = normal(2, length, WIDTH), np.ones((2, length), bool)
    run(x, everything)
    for variable in [weight for layer in layers for weight in layer.trainable_variables]:
        variable.assign(normal(*variable.shape))  # Zero biases would hide what they do.
    padded = np.concatenate([np.full((2, front, WIDTH), 100.0), x], axis=1)
    outputs = run(padded, np.pad(everything, [(0, 0), (front, 0)]))
    assert_close(numbers(outputs[:, front:]), numbers(run(x, everything)), atol=1e-12)
    assert (to_numpy(outputs[:, :front]) == 0).all()


@pytest.mark.each_value
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", BLOCKS)
def test_masked_steps_are_zero_and_nothing_is_nan(name, policy):
    """In outputs and gradients, for random masks and large inputs; every fifth is fully masked."""
    length, random = 7, np.random.default_rng(29)
    layer, x = BLOCKS[name](length, dtype=policy), tf.constant(30 * normal(101, length, WIDTH))
    counts = random.uniform(size=(101, length)) < random.uniform(0.3, 1, size=(101, 1))
    counts[::5] = False
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, mask=counts)
        loss = tf.reduce_sum(tf.cast(outputs, "float32")) / 1000
    gradients = tape.gradient(loss, [x, *layer.trainable_variables])
    outputs, *gradients = numbers([outputs, *map(tf.convert_to_tensor, gradients)])
    assert all(np.isfinite(values).all() for values in [outputs, *gradients])
    assert (outputs[~counts] == 0).all()
    assert (gradients[0][~counts] == 0).all()
    if name == "attention":
        weights = to_numpy(layer(x, mask=counts, return_attention_scores=True)[1])
        may = np.tri(length, dtype=bool) & counts[:, :, None] & counts[:, None, :]
        assert (weights[~may] == 0).all()
        np.testing.assert_allclose(weights.sum(axis=2)[counts], 1, atol=2e-2)


def test_masks_run_through_a_model():
    """From an embedding, through all three, to a layer that uses them."""
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(11, 5, mask_zero=True)(ids)
    x = ka.SnailAttentionBlock(5, 3)(x)
    x = ka.TemporalConvBlock(5, 7)(x)
    x = ka.CausalConvBlock(5)(x)
    model = keras.Model(ids, keras.layers.GlobalAveragePooling1D()(x))
    short, long = np.array([[3, 4, 5]]), np.array([[3, 4, 5, 0, 0]])
    assert_close(numbers(model(long)), numbers(model(short)), atol=1e-6)


# ---- Attention


def test_a_bias_of_the_keys_would_change_nothing():
    """The paper's "affine" has it, the layer does not."""
    layer, x = ka.SnailAttentionBlock(5, 7, dtype="float64"), normal(2, 4, WIDTH)
    outputs = to_numpy(layer(x))
    layer.query_bias.assign(normal(5))
    query = x @ to_numpy(layer.query_kernel) + normal(5)
    key = x @ to_numpy(layer.key_kernel) + 3 * normal(5)  # with a bias
    scores = np.where(np.tri(4), np.einsum("btk,bsk->bts", query, key) / math.sqrt(5), -np.inf)
    weights = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    outputs_and_weights = layer(x, return_attention_scores=True)
    np.testing.assert_allclose(to_numpy(outputs_and_weights[1]), weights, atol=1e-12)
    assert np.abs(to_numpy(outputs_and_weights[0]) - outputs).max() > 1e-3


@pytest.mark.parametrize("masked", [True, False])
def test_returning_the_weights_does_not_change_the_output(masked):
    layer, x = ka.SnailAttentionBlock(5, 7), normal(2, 4, WIDTH)
    mask = np.array([[True, False, True, True], [False, False, True, False]]) if masked else None
    outputs, _ = layer(x, mask=mask, return_attention_scores=True)
    assert_close(numbers(layer(x, mask=mask)), numbers(outputs), atol=1e-6)


@pytest.mark.parametrize("masked", [True, False])
def test_long_sequences_use_tiled_attention(masked, monkeypatch):
    """The outputs equal those with all weights."""
    calls = []

    def counted(*arguments, **options):
        calls.append(1)
        return tiled_attention(*arguments, **options, sides=(2, 4))

    tiled_attention = entry.tiled_attention
    monkeypatch.setattr(entry, "holds_weights", lambda *_: False)
    monkeypatch.setattr(entry, "tiled_attention", counted)
    layer, x = ka.SnailAttentionBlock(5, 7), normal(2, 13, WIDTH)
    mask = np.random.default_rng(3).uniform(size=(2, 13)) < 0.7 if masked else None
    outputs, _ = layer(x, mask=mask, return_attention_scores=True)
    assert not calls
    assert_close(numbers(layer(x, mask=mask)), numbers(outputs))
    assert calls


# ---- Errors


def call_on_lengths(block, *lengths):
    for length in lengths:
        block(normal(2, length, WIDTH))


ERRORS = {
    "filters": (lambda: ka.CausalConvBlock(0), ["`filters`", "0", "at least 1"]),
    "dilation_rate": (lambda: ka.CausalConvBlock(3, 0), ["`dilation_rate`", "0", "at least 1"]),
    "dilation_beyond": (
        lambda: ka.CausalConvBlock(3, 8)(normal(2, 5, 7)),
        ["`dilation_rate`", "8", "`inputs`", "length 5", "below"],
    ),
    "dilation_at_the_end": (
        lambda: ka.CausalConvBlock(3, 5)(normal(2, 5, 7)),
        ["`dilation_rate`", "5", "`inputs`", "length 5", "below"],
    ),
    "dilation_beyond_a_later_one": (
        lambda: call_on_lengths(ka.CausalConvBlock(3, 5), 6, 5),
        ["`dilation_rate`", "5", "`inputs`", "length 5", "below"],
    ),
    "symbolic_dilation": (
        lambda: ka.CausalConvBlock(3, 8)(keras.Input((5, 7))),
        ["`dilation_rate`", "8", "`inputs`", "length 5", "below"],
    ),
    "temporal_filters": (lambda: ka.TemporalConvBlock(-1, 5), ["`filters`", "-1", "at least 1"]),
    "sequence_length": (
        lambda: ka.TemporalConvBlock(3, 2.5),
        ["`sequence_length`", "2.5", "at least 1"],
    ),
    "longer": (
        lambda: call_on_lengths(ka.TemporalConvBlock(5, 4), 3, 5),
        ["`inputs`", "length 5", "`sequence_length`", "4"],
    ),
    "longer_at_first": (
        lambda: ka.TemporalConvBlock(3, 4)(normal(2, 5, 7)),
        ["`inputs`", "length 5", "`sequence_length`", "4"],
    ),
    "longer_symbolic": (
        lambda: ka.TemporalConvBlock(3, 4)(keras.Input((5, 7))),
        ["`inputs`", "length 5", "`sequence_length`", "4"],
    ),
    "key_dim": (lambda: ka.SnailAttentionBlock(0, 3), ["`key_dim`", "0", "at least 1"]),
    "value_dim": (lambda: ka.SnailAttentionBlock(3, None), ["`value_dim`", "None", "at least 1"]),
    **{
        f"rank_of_{name}": (
            lambda make=make: make(4)(normal(2, 5)),
            ["`inputs`", "(2, 5)", "(batch, steps, width)"],
        )
        for name, make in BLOCKS.items()
    },
    **{
        f"unknown_width_of_{name}": (
            lambda make=make: make(4)(keras.Input((4, None))),
            ["`inputs`", "(None, 4, None)", "known"],
        )
        for name, make in BLOCKS.items()
    },
    **{
        f"mask_of_{name}": (
            lambda make=make: make(4)(normal(2, 4, 3), mask=np.ones((2, 3), bool)),
            ["`mask`", "(2, 3)", "(2, 4)"],
        )
        for name, make in BLOCKS.items()
    },
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_argument_and_what_is_expected(name):
    act, words = ERRORS[name]
    with pytest.raises(ValueError, match="expected") as caught:
        act()
    for word in words:
        assert word in str(caught.value)
