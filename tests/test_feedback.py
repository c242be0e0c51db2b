"""Decoders that read their own outputs: forecasts, frames, scheduled sampling of numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka
from comparing import assert_close, numbers, to_numpy
from marks import more

LAYERS = keras.layers
RANDOM = np.random.default_rng(3)
MEMORY = RANDOM.normal(size=(3, 11, 2)).astype("float32")
FIRST = RANDOM.normal(size=(3, 7)).astype("float32")
STEPS = 5

DECODERS = {
    "bahdanau": lambda **k: ka.BahdanauDecoder(
        LAYERS.GRUCell(13, **k), ka.BahdanauAttention(5), readout=ka.DeepOutput(17)
    ),
    "luong": lambda **k: ka.LuongDecoder(
        LAYERS.LSTMCell(13, **k), ka.LuongAttention(), attention_layer_size=17
    ),
    "luong_unfed": lambda **k: ka.LuongDecoder(
        LAYERS.GRUCell(13, **k), ka.LuongAttention(), 17, input_feeding=False
    ),
    "monotonic": lambda **k: ka.BahdanauDecoder(
        LAYERS.GRUCell(17, **k), ka.MonotonicAttention(ka.scores.Additive(5))
    ),
}
EVERY_DECODER = pytest.mark.parametrize("kind", DECODERS)


def made(kind, **options):
    decoder = DECODERS[kind](**options)
    decoder(np.zeros((3, 1, 7), "float32"), MEMORY)
    return decoder, keras.Sequential([LAYERS.Dense(7, activation="tanh")])


@pytest.mark.each_value
@EVERY_DECODER
@pytest.mark.parametrize("in_graph", [True, False])
def test_unrolling_equals_stepping(kind, in_graph):
    decoder, feed = made(kind)
    mask = np.arange(11) < np.array([[11], [7], [2]])

    def unroll(memory, first):
        return decoder.unroll(memory, first, STEPS, feed, memory_mask=mask)

    unroll = tf.function(unroll, reduce_retracing=True) if in_graph else unroll
    found = unroll(tf.constant(MEMORY), tf.constant(FIRST))
    state, inputs = decoder.begin(MEMORY, mask), keras.ops.convert_to_tensor(FIRST)
    for t in range(STEPS):
        output, weights, state = decoder.step(inputs, state)
        inputs = feed.layers[0](output)
        assert_close(
            [to_numpy(output), to_numpy(weights)],
            [to_numpy(found.outputs[:, t]), to_numpy(found.attention[:, t])],
        )
    assert_close(numbers(found.state["cell"]), numbers(state["cell"]))
    assert to_numpy(found.lengths).tolist() == [STEPS] * 3


@EVERY_DECODER
def test_gradients_flow_through_the_outputs(kind):
    decoder, feed = made(kind)
    first = tf.Variable(FIRST)
    with tf.GradientTape() as tape:
        outputs = decoder.unroll(MEMORY, first, STEPS, feed).outputs
        loss = tf.reduce_sum(outputs[:, -1] ** 2)
    gradient = tape.gradient(loss, first).numpy()
    losses = []
    for sign in (1, -1):
        moved = FIRST.copy()
        moved[1, 3] += sign * 1e-2
        losses.append(
            float(tf.reduce_sum(decoder.unroll(MEMORY, moved, STEPS, feed).outputs[:, -1] ** 2))
        )
    assert gradient[1, 3] == pytest.approx((losses[0] - losses[1]) / 2e-2, rel=0.05, abs=1e-4)
    assert gradient[1, 3] != 0


def test_dropout_is_drawn_once_and_only_in_training():
    decoder, feed = made("bahdanau", dropout=0.5)
    found = [
        to_numpy(decoder.unroll(MEMORY, FIRST, STEPS, feed, training=training).outputs)
        for training in (None, False, True, True)
    ]
    assert_close([found[0]], [found[1]], atol=0)
    assert np.abs(found[2] - found[3]).max() > 0.01


def test_outputs_after_the_stop_are_zero():
    decoder, feed = made("luong")
    plain = decoder.unroll(MEMORY, FIRST, STEPS, feed)
    stops = np.array([[0, 0, 1, 0, 1], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]], "bool")
    found = decoder.unroll(MEMORY, FIRST, STEPS, feed, stop=lambda outputs: stops)
    for b in range(3):
        length = (3, STEPS, 1)[b]
        assert int(found.lengths[b]) == length
        assert_close(
            [to_numpy(found.outputs)[b, :length], to_numpy(found.outputs)[b, length:]],
            [to_numpy(plain.outputs)[b, :length], np.zeros((STEPS - length, 17))],
        )
        assert not to_numpy(found.attention)[b, length:].any()


def test_a_list_of_layers_feeds_one_after_the_other():
    """Also of a prenet that was built for whole sequences of one length."""
    decoder, _ = made("luong")
    frame, prenet = LAYERS.Dense(3), keras.Sequential([LAYERS.Dense(7, activation="tanh")])
    prenet(np.zeros((3, 4, 3), "float32"))
    found = decoder.unroll(MEMORY, FIRST, STEPS, feed=[frame, prenet])
    wanted = decoder.unroll(MEMORY, FIRST, STEPS, lambda o: prenet.layers[0](frame(o)))
    assert_close([to_numpy(found.outputs)], [to_numpy(wanted.outputs)])


def test_the_mask_of_keras_counts_in_every_method():
    decoder, feed = made("bahdanau")
    embedding = LAYERS.Embedding(9, 2, mask_zero=True)
    ids = np.array([[1, 2, 3, 0], [4, 0, 0, 0], [5, 6, 0, 0]])
    memory, inputs = embedding(ids), np.zeros((3, 2, 7), "float32")
    state = decoder.begin(memory)
    for weights in (
        decoder.unroll(memory, FIRST, STEPS, feed).attention,
        decoder.decode(inputs, memory)[1],
        decoder.step(keras.ops.convert_to_tensor(FIRST), state)[1][:, None],
    ):
        assert (to_numpy(weights)[np.repeat((ids == 0)[:, None], weights.shape[1], 1)] == 0).all()


def test_maps_after_the_stop_are_zero():
    decoder = ka.BahdanauDecoder(LAYERS.GRUCell(7), ka.SoftSpatialAttention(5))
    maps = RANDOM.normal(size=(3, 5, 2, 3)).astype("float32")
    stops = np.array([[0, 0, 1, 0, 1], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]], "bool")
    found = decoder.unroll(maps, FIRST, STEPS, stop=lambda outputs: stops)
    plain = decoder.unroll(maps, FIRST, STEPS)
    for b, length in enumerate((3, STEPS, 1)):
        attention = to_numpy(found.attention)[b]
        assert attention.shape == (STEPS, 5, 2)
        assert not attention[length:].any()
        assert_close([attention[:length]], [to_numpy(plain.attention)[b, :length]])


def test_errors_name_the_argument():
    decoder, feed = made("luong")
    with pytest.raises(ValueError, match="`steps` is 0"):
        decoder.unroll(MEMORY, FIRST, 0, feed)
    with pytest.raises(ValueError, match="`first` has shape"):
        decoder.unroll(MEMORY, FIRST[:, None], STEPS, feed)
    with pytest.raises(ValueError, match=r"`feed` is .* gives inputs of width 17; expected 7"):
        decoder.unroll(MEMORY, FIRST, STEPS)
    with pytest.raises(ValueError, match=r"`stop` returned float32 of shape \(3, 5\); expected bo"):
        decoder.unroll(MEMORY, FIRST, STEPS, feed, stop=lambda outputs: outputs[:, :, 0])
    with pytest.raises(ValueError, match=r"`stop` returned bool of shape \(3, 17\)"):
        decoder.unroll(MEMORY, FIRST, STEPS, feed, stop=lambda outputs: outputs[:, 0] > 0)
    with pytest.raises(ValueError, match="`inputs` has width 5; expected 7, as when the decoder"):
        decoder(np.zeros((3, 2, 5), "float32"), MEMORY)
    with pytest.raises(ValueError, match="`memory` is symbolic"):
        decoder.unroll(keras.Input((11, 2)), FIRST, STEPS, feed)


def forecaster(**options):
    return ka.models.EncoderDecoder(
        LAYERS.GRU(13, return_sequences=True),
        keras.Sequential([LAYERS.Dense(7, activation="tanh"), LAYERS.Dense(5)]),
        ka.LuongDecoder(LAYERS.GRUCell(13), ka.LuongAttention(), attention_layer_size=11),
        LAYERS.Dense(1),
        bridge="last",
        **options,
    )


HISTORY, FUTURE = (RANDOM.normal(size=(3, steps, 1)).astype("float32") for steps in (11, 5))


def test_a_model_predicts_from_its_own_predictions():
    model = forecaster()
    found = model.unroll(HISTORY, FUTURE[:, 0], STEPS)
    state, value = model.begin(HISTORY), keras.ops.convert_to_tensor(FUTURE[:, 0])
    for t in range(STEPS):
        value, _, state = model.step(value, state)
        assert_close([to_numpy(value)], [to_numpy(found.outputs[:, t])])


def test_scheduled_sampling_of_numbers_reads_the_predictions():
    """With probability 1 a training step is the unrolling; with 0 it is teacher forcing."""
    model = forecaster(sampling_probability=1.0)
    model((HISTORY, FUTURE))
    outputs = to_numpy(model((HISTORY, FUTURE), training=True))
    assert_close([outputs], [to_numpy(model.unroll(HISTORY, FUTURE[:, 0], STEPS).outputs)])
    model.sampling_probability.assign(0.0)
    forced = to_numpy(model((HISTORY, FUTURE), training=True))
    assert_close([forced], [to_numpy(model((HISTORY, FUTURE)))])
    assert np.abs(outputs - forced).max() > 1e-4


@pytest.mark.parametrize("jit_compile", [False, *more(True)])
def test_a_forecaster_learns_to_run_freely(jit_compile):
    """Waves with a phase of their own: free-running training beats the last value, held."""
    time = np.arange(24) / 24 + RANDOM.uniform(size=(256, 1))
    series = np.sin(2 * np.pi * 1.5 * time)[:, :, None].astype("float32")
    history, future = series[:, :16], series[:, 16:]
    target_in = np.concatenate([history[:, -1:], future[:, :-1]], axis=1)
    keras.utils.set_random_seed(3)
    model = forecaster(sampling_probability=1.0, seed=3)
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=jit_compile)
    model.fit((history, target_in), future, epochs=12, batch_size=30, verbose=0)
    predicted = to_numpy(model.unroll(history, target_in[:, 0], 8).outputs)
    held = np.repeat(target_in[:, :1], 8, axis=1)
    assert np.mean((predicted - future) ** 2) < 0.1 * np.mean((held - future) ** 2)
