"""On JAX: training on two devices gives the weights of training on one."""

import keras
import numpy as np
import pytest

import keras_attention as ka
from comparing import assert_close, numbers
from table import SIZES, TABLE, shaped

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="Keras's DataParallel is for JAX"
)
# Those that stand for a way to compute: each kind of decoder, the models, and blocks.
NAMES = {
    "bahdanau",
    "bahdanau_decoder_gru",
    "bahdanau_decoder_coverage",
    "bahdanau_decoder_soft_spatial",
    "luong_decoder_gru",
    "luong_decoder_fused_lstm",
    "encoder_decoder",
    "transformer",
}
ROWS = [row for row in TABLE if row.name in NAMES]


@pytest.fixture
def two_devices():
    devices = keras.distribution.list_devices("cpu")
    assert len(devices) == 2
    yield keras.distribution.DataParallel(devices=devices)
    keras.distribution.set_distribution(None)


def trained(distribution, make, *data, loss):
    """The losses and the weights after three batches of all examples."""
    keras.distribution.set_distribution(distribution)
    keras.utils.set_random_seed(3)
    model = make()
    model.compile(keras.optimizers.SGD(0.1), loss)
    fitted = model.fit(*data, batch_size=len(data[1]), epochs=3, shuffle=False, verbose=0)
    weights = [w for w in model.weights if "seed" not in w.name]
    if distribution is not None:
        assert all(len(w.value.sharding.device_set) == 2 for w in weights)
    return [*fitted.history["loss"], *numbers(weights)]


def test_all_names_are_rows():
    assert {row.name for row in ROWS} == NAMES


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_layers(row, two_devices):
    inputs, masks = row.arrays()
    axes = next(iter(row.outputs.values()))
    target = np.random.default_rng(31).normal(size=shaped(axes, SIZES)).astype("float32")

    def make():
        model = row.functional(row.new(), projected=True)
        return keras.Model(model.inputs, model.outputs[0])

    data = {**inputs, **masks}, target
    one, two = (trained(each, make, *data, loss="mse") for each in (None, two_devices))
    assert_close(two, one)


class Captioner(keras.Model):
    """Hard attention, which learns by `reinforce` with a baseline."""

    def __init__(self):
        super().__init__()
        self.decoder = ka.BahdanauDecoder(
            keras.layers.GRUCell(7), ka.HardSpatialAttention(5, seed=3)
        )
        self.head = keras.layers.Dense(13)
        self.baseline = self.add_weight(
            name="baseline", initializer="zeros", trainable=False, aggregation="mean"
        )

    def call(self, inputs, training=None):
        maps, queries, words = inputs
        outputs, _, state = self.decoder.decode(queries, maps, training=training)
        logits = self.head(outputs)
        logs = keras.ops.log_softmax(logits)
        chosen = keras.ops.take_along_axis(logs, words[:, :, None], axis=2)
        likelihood = keras.ops.sum(chosen, axis=(1, 2))
        if training:
            losses = ka.losses.reinforce(likelihood, **state["attention"], baseline=self.baseline)
            self.add_loss(keras.ops.mean(losses))
            self.baseline.assign(ka.losses.moving_average(self.baseline, likelihood))
        return logits


def test_reinforce(two_devices):
    random = np.random.default_rng(5)
    maps = random.normal(size=(4, 2, 3, 5)).astype("float32")
    queries = random.normal(size=(4, 3, 7)).astype("float32")
    words = random.integers(0, 13, (4, 3)).astype("int32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    data = (maps, queries, words), words
    one, two = (trained(each, Captioner, *data, loss=loss) for each in (None, two_devices))
    assert_close(two, one)
