"""Self-attention of maps beyond the layer table: identity at first, widths, errors, learning."""

import keras
import numpy as np
import pytest

import keras_attention as ka
from comparing import to_numpy

B, HEIGHT, WIDTH, CHANNELS = 2, 3, 5, 11


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_it_is_the_identity_at_first_and_learns_from_there(policy):
    """gamma starts at 0, and has a gradient."""
    layer, x = ka.SelfAttention2D(dtype=policy), normal(B, HEIGHT, WIDTH, CHANNELS)
    y = layer(x)
    cast = keras.ops.cast(x, layer.compute_dtype)
    np.testing.assert_array_equal(to_numpy(y), to_numpy(cast))
    model = keras.Sequential([layer])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.train_on_batch(x, x + 1)
    assert float(layer.gamma) != 0


@pytest.mark.parametrize(
    ("channels", "reduction", "reduced_dim"),
    [(64, 8, 8), (15, 8, 1), (3, 8, 1), (1, 8, 1), (7, 1, 7)],
)
def test_the_reduction_rounds_down_and_leaves_a_channel(channels, reduction, reduced_dim):
    layer = ka.SelfAttention2D(reduction)
    layer(normal(1, 2, 2, channels))
    assert {weight.name: tuple(weight.shape) for weight in layer.weights} == {
        "f_kernel": (channels, reduced_dim),
        "g_kernel": (channels, reduced_dim),
        "h_kernel": (channels, reduced_dim),
        "v_kernel": (reduced_dim, channels),
        "gamma": (),
    }


def test_weights_are_a_map_per_position_and_do_not_change_the_output():
    layer, x = ka.SelfAttention2D(3), normal(B, HEIGHT, WIDTH, CHANNELS)
    layer(x)
    layer.gamma.assign(0.7)
    outputs, weights = layer(x, return_attention_scores=True)
    np.testing.assert_array_equal(to_numpy(layer(x)), to_numpy(outputs))
    np.testing.assert_allclose(to_numpy(weights).sum(axis=(3, 4)), 1, atol=1e-6)


ERRORS = {
    "reduction": (lambda: ka.SelfAttention2D(0), ["`reduction`", "0", "at least 1"]),
    "rank": (
        lambda: ka.SelfAttention2D()(normal(2, 3, 5)),
        ["`inputs`", "(2, 3, 5)", "(batch, height, width, channels)"],
    ),
    "symbolic_rank": (
        lambda: ka.SelfAttention2D()(keras.Input((3,))),
        ["`inputs`", "(None, 3)", "(batch, height, width, channels)"],
    ),
    "unknown_channels": (
        lambda: ka.SelfAttention2D()(keras.Input((3, 5, None))),
        ["`inputs`", "(None, 3, 5, None)", "last axis is known"],
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
def test_it_learns_to_attend_across_the_map(attentive):
    """Each position outputs the color of the marked one, which no 3x3 convolution reaches."""
    random = np.random.default_rng(7)
    examples, side, colours = 384, 7, 4
    picture = random.integers(0, colours, size=(examples, side, side))
    marked = random.integers(0, side * side, size=examples)
    marks = np.eye(side * side)[marked].reshape(examples, side, side, 1)
    x = np.concatenate([np.eye(colours)[picture], marks], axis=-1).astype("float32")
    answer = picture.reshape(examples, -1)[np.arange(examples), marked]
    target = np.broadcast_to(answer[:, None, None], picture.shape)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            ka.SelfAttention2D(reduction=2)
            if attentive
            else layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(colours, 1),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    split = 320
    model.fit(x[:split], target[:split], epochs=30, batch_size=32, verbose=0)
    accuracy = model.evaluate(x[split:], target[split:], verbose=0)[1]
    if attentive:
        assert accuracy > 0.95
    else:
        assert accuracy < 0.6
