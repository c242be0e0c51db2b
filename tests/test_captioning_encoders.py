"""The captioning example's encoders: the map of a picture, and beside it that of half its size."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from typer.testing import CliRunner

from examples.captioning import efficientnet, encoders, inference
from examples.captioning.cli import app
from examples.captioning.config import Config
from examples.captioning.run import Run
from examples.common.errors import UserError
from marks import eagerly


def config(**options):
    return Config("", "", **options)


def pixels(size):
    return np.random.default_rng(3).uniform(0, 255, (2, size, size, 3)).astype("float32")


def twice(network, pixels):
    """The map of pictures, and that of the same at half their size, resized."""
    halved = pixels.reshape(2, pixels.shape[1] // 2, 2, -1, 2, 3).mean((2, 4))
    fine, coarse = network(pixels), network(halved)
    return np.concatenate([fine, tf.image.resize(coarse, fine.shape[1:3])], axis=-1)


def test_lite0_is_cut_before_its_channels_widen():
    whole, frozen = (
        efficientnet.encoder(),
        encoders.frozen(config(encoder="efficientnet", size=448)),
    )
    assert frozen.output_shape == (None, 14, 14, 320 + 320)
    assert not frozen.trainable_weights
    network = keras.Model(whole.input, whole.get_layer("conv_head").input)
    x = pixels(448)
    np.testing.assert_allclose(frozen(x), twice(network, x), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights for MobileNet without its top, of which something comes out at the end."""
    keras.utils.set_random_seed(7)
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    network = keras.applications.MobileNet(include_top=False, weights=None)
    for layer in network.layers:
        if hasattr(layer, "kernel"):
            inputs = 9 if "dw" in layer.name else np.prod(layer.kernel.shape[:-1])
            layer.kernel.assign(keras.random.normal(layer.kernel.shape, stddev=(2 / inputs) ** 0.5))
    network.save_weights(path)
    return path


def test_a_network_of_keras_with_weights_from_a_file(weights):
    frozen = encoders.frozen(config(encoder="MobileNet", encoder_weights=weights, size=128))
    base = keras.applications.MobileNet(include_top=False, weights=None)
    base.load_weights(weights)
    x = pixels(128)
    expected = twice(base, keras.applications.mobilenet.preprocess_input(x.copy()))
    assert frozen.output_shape == (None, 4, 4, 1024 + 1024)
    found = np.asarray(frozen(x))
    assert found[..., :1024].std() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"encoder": "vgg"}, "--encoder vgg: expected cnn, efficientnet or one of ConvNeXtBase, "),
        ({"encoder": "VGG16"}, "--encoder VGG16 needs --encoder-weights, a file of them"),
        ({"encoder": "VGG16", "encoder_weights": "WEIGHTS"}, "not weights of vgg16 without its"),
        ({"encoder": "VGG16", "encoder_weights": "none.h5"}, "none.h5: no such file"),
        (
            {"encoder": "efficientnet", "encoder_weights": "none.pth"},
            "none.pth: no such file",
        ),
        ({"encoder": "efficientnet", "encoder_weights": "WEIGHTS"}, "not a readable"),
        ({"encoder_weights": "WEIGHTS"}, "expected none with --encoder cnn"),
        (
            {"encoder": "MobileNet", "encoder_weights": "WEIGHTS", "size": 200},
            "--size 200: expected a multiple of 64 from 128, best 448, with a",
        ),
        (
            {"encoder": "InceptionV3", "encoder_weights": "WEIGHTS", "size": 128},
            "--encoder InceptionV3: it does not take pictures of 128 and 64 pixels",
        ),
    ],
)
def test_bad_encoders(weights, options, told):
    values = {name: weights if value == "WEIGHTS" else value for name, value in options.items()}
    with pytest.raises(UserError) as caught:
        encoders.frozen(config(**({"size": 128} | values)))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- training its last layers


def mobilenet(weights, **options):
    return config(encoder="MobileNet", encoder_weights=weights, size=128, **options)


def test_the_last_layers_learn_and_statistics_stay(weights):
    tuned, frozen = mobilenet(weights, train_encoder=3), mobilenet(weights)
    network = encoders.pretrained(tuned)
    names = [variable.path for variable in network.trainable_variables]
    assert names == ["conv_pw_12/kernel", "conv_dw_13/kernel", "conv_pw_13/kernel"]
    statistics = [np.array(variable) for variable in network.non_trainable_variables]
    x = pixels(128)
    np.testing.assert_allclose(network(x, training=True), encoders.frozen(frozen)(x), atol=1e-5)
    assert all(map(np.array_equal, statistics, network.non_trainable_variables))
    assert encoders.frozen(tuned) == 128  # nothing comes before the trained network


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"train_encoder": 28}, "--train-encoder 28: expected at most its 27 layers"),
        ({"train_encoder": -1}, "--train-encoder -1: expected an integer from 0 to 10000"),
    ],
)
def test_more_layers_than_there_are(weights, options, told):
    with pytest.raises(UserError) as caught:
        encoders.pretrained(mobilenet(weights, **options))
    assert told in str(caught.value)


@eagerly
def test_fine_tuning_goes_on_from_a_frozen_encoder(weights, tmp_path):
    rng, listed = np.random.default_rng(0), {"train": [], "dev": [], "test": []}
    for number in range(12):
        name, split = f"{number}.png", ("train", "train", "dev", "test")[number // 3]
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype="uint8")).save(tmp_path / name)
        listed[split].append({"image": name, "captions": [f"a picture of {number % 3} things"]})
    (tmp_path / "captions.json").write_text(json.dumps(listed))

    def train(out, *more):
        sizes = ["units", "attention-units", "channels", "embedding", "max-length"]
        options = [part for name in sizes for part in (f"--{name}", 6)]
        options += ["--batch-size", 2]  # the rate of the first step is 0
        options += ["--images", tmp_path, "--captions", tmp_path / "captions.json", "--size", 128]
        options += ["--encoder", "MobileNet", "--encoder-weights", weights, "--epochs", 1]
        result = CliRunner().invoke(app, ["train", *map(str, [*options, "--out", out, *more])])
        assert result.exit_code == 0, result.output
        return inference.load(Run(out / "soft"))

    started = train(tmp_path / "frozen")
    start = ["--start-from", tmp_path / "frozen" / "soft", "--learning-rate"]
    dropouts = ["--dropout", 0.1, "--patch-dropout", 0.5]  # Their seeds are no weights.
    still = train(tmp_path / "still", "--train-encoder", 2, *dropouts, *start, 1e-12)
    learned = still.model.trainable_variables
    assert [v.path for v in learned[:2]] == ["conv_dw_13/kernel", "conv_pw_13/kernel"]
    for mine, theirs in zip(learned[2:], started.model.trainable_variables, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    pretrained = still.model.network.encoder.get_layer("pretrained")
    np.testing.assert_allclose(pretrained(pixels(128)), started.frozen(pixels(128)), rtol=1e-5)

    tuned = train(tmp_path / "tuned", "--train-encoder", 2, *start, 1e-3)
    before, after = (
        {v.path: np.array(v) for v in each.get_layer("pretrained").variables}
        for each in (still.model.network.encoder, tuned.model.network.encoder)
    )
    changed = {path for path in before if not np.allclose(before[path], after[path], atol=1e-6)}
    assert changed == {"conv_dw_13/kernel", "conv_pw_13/kernel"}
