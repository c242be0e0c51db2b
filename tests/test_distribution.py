"""Training on two devices gives the weights of training on one, for the same global batches."""

import keras
import numpy as np
import pytest

import keras_attention as ka
from comparing import assert_close, numbers
from examples.captioning import model as captioning
from examples.captioning.config import Config
from marks import more

LAYERS = keras.layers
IDS, WIDTH = 13, 7
RANDOM = np.random.default_rng(5)
# Four examples. Both halves have as many words, so that the mean of their means is that of all.
SOURCE = np.array([[3, 4, 5, 0, 0], [6, 2, 0, 0, 0], [1, 2, 3, 4, 7], [4, 4, 0, 0, 0]])
TARGET_IN = np.array([[1, 3, 4], [1, 5, 0], [1, 3, 0], [1, 2, 3]])
TARGET_OUT = np.array([[3, 4, 2], [5, 2, 0], [6, 2, 0], [4, 2, 2]])
MAPS = RANDOM.normal(size=(4, 2, 3, 5)).astype("float32")
SERIES, FUTURE = (RANDOM.normal(size=(4, n, 2)).astype("float32") for n in (5, 3))
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy


def trained(model, inputs, targets, loss=None, steps=3):
    """The weights after `steps` batches of all examples, the state of random seeds left out."""
    model.compile(keras.optimizers.SGD(0.5), loss, jit_compile=False)
    losses = model.fit(inputs, targets, batch_size=4, epochs=steps, shuffle=False, verbose=0)
    assert len(set(losses.history["loss"])) == steps
    return [*losses.history["loss"], *numbers([w for w in model.weights if "seed" not in w.name])]


def assert_equal_on_two(strategy, make, *data):
    keras.utils.set_random_seed(3)
    one = trained(make(), *data)
    keras.utils.set_random_seed(3)
    with strategy.scope():
        model = make()
    assert_close(trained(model, *data), one)
    for variable in model.variables:
        np.testing.assert_array_equal(*numbers(variable.value.values), variable.path)


def encoder_decoder(decoder, **options):
    return ka.models.EncoderDecoder(
        keras.Sequential([LAYERS.Embedding(IDS, WIDTH, mask_zero=True), LAYERS.Dense(WIDTH)]),
        LAYERS.Embedding(IDS, WIDTH, mask_zero=True),
        decoder,
        LAYERS.Dense(IDS),
        **options,
    )


def transformer():
    return ka.models.Transformer(
        keras.Sequential(
            [LAYERS.Embedding(IDS, 8, mask_zero=True), ka.TransformerEncoderBlock(2, 16)]
        ),
        LAYERS.Embedding(IDS, 8, mask_zero=True),
        [ka.TransformerDecoderBlock(2, 16)],
        LAYERS.Dense(IDS),
        max_length=7,
    )


def bahdanau(attention=None):
    return ka.BahdanauDecoder(LAYERS.GRUCell(WIDTH), attention or ka.BahdanauAttention(5))


def luong(**options):
    return ka.LuongDecoder(
        LAYERS.LSTMCell(WIDTH), ka.LuongAttention(), attention_layer_size=5, **options
    )


# By name: the model, and its loss.
MODELS = {
    "bahdanau": (lambda: encoder_decoder(bahdanau()), CROSSENTROPY(from_logits=True)),
    "luong": (lambda: encoder_decoder(luong()), ka.losses.LinearCrossentropy()),
    "luong_fused": (
        lambda: encoder_decoder(luong(input_feeding=False)),
        ka.losses.LinearCrossentropy(label_smoothing=0.1),
    ),
    "monotonic": (
        lambda: encoder_decoder(bahdanau(ka.MonotonicAttention())),
        CROSSENTROPY(from_logits=True),
    ),
    "location_sensitive": (
        lambda: encoder_decoder(bahdanau(ka.LocationSensitiveAttention(5, 3, 3))),
        CROSSENTROPY(from_logits=True),
    ),
    "sampling_0": (
        lambda: encoder_decoder(bahdanau(), sampling_probability=0.0),
        CROSSENTROPY(from_logits=True),
    ),
    "transformer": (transformer, ka.losses.LinearCrossentropy()),
}


@pytest.mark.parametrize(
    "name",
    [
        *("bahdanau", "luong", "monotonic", "transformer"),
        *more("luong_fused", "location_sensitive", "sampling_0"),
    ],
)
def test_models(name, two_devices):
    make, loss = MODELS[name]
    assert_equal_on_two(two_devices, make, (SOURCE, TARGET_IN), TARGET_OUT, loss)


def forecaster():
    return ka.models.EncoderDecoder(
        LAYERS.Dense(WIDTH), LAYERS.Dense(5), bahdanau(), LAYERS.Dense(2), sampling_probability=1.0
    )


def test_numbers_fed_back(two_devices):
    assert_equal_on_two(two_devices, forecaster, (SERIES, FUTURE), FUTURE, "mse")


def test_sampled_tokens_and_a_device_without_examples(two_devices):
    """The fifth example is a batch, and leaves nothing for the second device."""
    with two_devices.scope():
        model = encoder_decoder(bahdanau(), sampling_probability=0.5)
    data = (np.tile(x, (2, 1))[:5] for x in (SOURCE, TARGET_IN, TARGET_OUT))
    source, target_in, target_out = data
    after = trained(model, (source, target_in), target_out, CROSSENTROPY(from_logits=True))
    assert all(np.isfinite(part).all() for part in after)


def looker():
    """A decoder whose weights are an output, for losses on them."""
    inputs, memory = keras.Input((None, 2)), keras.Input((None, 2))
    decoder = ka.BahdanauDecoder(
        LAYERS.GRUCell(WIDTH), ka.BahdanauAttention(5), return_attention_scores=True
    )
    outputs, weights = decoder(inputs, memory)
    return keras.Model([inputs, memory], {"output": LAYERS.Dense(2)(outputs), "weights": weights})


@pytest.mark.parametrize("loss", [ka.losses.guided_alignment, ka.losses.diagonal_alignment])
def test_losses_on_the_weights(loss, two_devices):
    targets = {"output": FUTURE, "weights": np.tile(np.eye(3, 5, dtype="float32"), (4, 1, 1))}
    losses = {"output": "mse", "weights": loss}
    assert_equal_on_two(two_devices, looker, [FUTURE, SERIES], targets, losses)


class Captioner(keras.Model):
    """A decoder over maps that adds the losses of the paper."""

    def __init__(self, attention):
        super().__init__()
        self.embedding = LAYERS.Embedding(IDS, WIDTH)
        self.decoder = bahdanau(attention)
        self.head = LAYERS.Dense(IDS)
        self.baseline = self.add_weight(
            name="baseline", initializer="zeros", trainable=False, aggregation="mean"
        )

    def call(self, inputs, training=None):
        maps, target_in, target_out = inputs
        outputs, weights, state = self.decoder.decode(
            self.embedding(target_in), maps, training=training
        )
        logits = self.head(outputs)
        losses = ka.losses.doubly_stochastic(weights)
        if "log_prob" in state["attention"]:
            logs = keras.ops.take_along_axis(
                keras.ops.log_softmax(logits), target_out[:, :, None], axis=2
            )
            likelihood = keras.ops.sum(logs, axis=(1, 2))
            losses = ka.losses.reinforce(likelihood, **state["attention"], baseline=self.baseline)
            self.baseline.assign(ka.losses.moving_average(self.baseline, likelihood))
        self.add_loss(keras.ops.mean(losses))
        return logits


def test_added_losses(two_devices):
    data = (MAPS, TARGET_IN, TARGET_OUT), TARGET_OUT, CROSSENTROPY(from_logits=True)
    assert_equal_on_two(two_devices, lambda: Captioner(ka.SoftSpatialAttention(5)), *data)


def hard():
    return Captioner(ka.HardSpatialAttention(5, seed=3))


def test_the_baseline_of_reinforce_stays_in_step(two_devices):
    # Over one position all draws are the same, on one device and on two.
    inputs = MAPS[:, :1, :1], TARGET_IN, TARGET_OUT
    assert_equal_on_two(two_devices, hard, inputs, TARGET_OUT, CROSSENTROPY(from_logits=True))
    with two_devices.scope():
        model = hard()
    trained(model, (MAPS, TARGET_IN, TARGET_OUT), TARGET_OUT, CROSSENTROPY(from_logits=True))
    first, second = numbers(model.baseline.value.values)
    assert first == second != 0


def test_the_baseline_of_the_example_stays_in_step(two_devices):
    config = Config(data="", fingerprint="", images="", size=32, attention="hard", max_length=3)
    with two_devices.scope():
        model = captioning.build(config, IDS, (32, 32, 3))
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    pictures = RANDOM.uniform(0, 255, size=(4, 32, 32, 3)).astype("float32")
    model.fit((pictures, TARGET_IN), TARGET_OUT, batch_size=4, epochs=2, verbose=0)
    first, second = numbers(model.baseline.value.values)
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).tolist() == [width == 3 for width in range(5)]
