"""The captioning example's frozen encoders: fine maps with the last map beside them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from examples.captioning import efficientnet, encoders
from examples.captioning.config import Config
from examples.common.errors import UserError


def config(**options):
    return Config("", "", **options)


def pixels(size):
    return np.random.default_rng(3).uniform(0, 255, (2, size, size, 3)).astype("float32")


def beside(fine, coarse):
    """The fine map, and the coarse one in its size."""
    resized = tf.image.resize(coarse, fine.shape[1:3])
    return np.concatenate([fine, resized], axis=-1)


def test_lite0_is_cut_before_its_channels_widen():
    whole, frozen = (
        efficientnet.encoder(),
        encoders.frozen(config(encoder="efficientnet", size=224)),
    )
    assert frozen.output_shape == (None, 14, 14, 112 + 320)
    assert not frozen.trainable_weights
    layers = ("blocks.11.expand_conv", "conv_head")
    maps = keras.Model(whole.input, [whole.get_layer(name).input for name in layers])
    x = pixels(224)
    np.testing.assert_allclose(frozen(x), beside(*maps(x)), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights for MobileNet without its top."""
    keras.utils.set_random_seed(7)
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    keras.applications.MobileNet(include_top=False, weights=None).save_weights(path)
    return path


def test_a_network_of_keras_with_weights_from_a_file(weights):
    frozen = encoders.frozen(config(encoder="MobileNet", encoder_weights=weights, size=64))
    base = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(64, 64, 3))
    base.load_weights(weights)
    fine = base.get_layer("conv_pw_11_relu").output
    maps = keras.Model(base.input, [fine, base.output])
    x = pixels(64)
    expected = beside(*maps(keras.applications.mobilenet.preprocess_input(x.copy())))
    assert frozen.output_shape == (None, 4, 4, 512 + 1024)
    found = np.asarray(frozen(x))
    assert found[..., :512].std() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"encoder": "vgg"}, "--encoder vgg: expected cnn, efficientnet or one of ConvNeXtBase, "),
        ({"encoder": "VGG16"}, "--encoder VGG16 needs --encoder-weights, a file of them"),
        ({"encoder": "VGG16", "encoder_weights": "WEIGHTS"}, "not weights of vgg16 without its"),
        ({"encoder": "VGG16", "encoder_weights": "none.h5"}, "none.h5: no such file"),
        (
            {"encoder": "efficientnet", "encoder_weights": "none.pth", "size": 224},
            "none.pth: no such file",
        ),
        ({"encoder": "efficientnet", "encoder_weights": "WEIGHTS", "size": 224}, "not a readable"),
        ({"encoder_weights": "WEIGHTS"}, "expected none with --encoder cnn"),
        (
            {"encoder": "Xception", "encoder_weights": "WEIGHTS", "size": 71},
            "--encoder Xception: it has no map of 4 x 4 places for --size 71",
        ),
    ],
)
def test_bad_encoders(weights, options, told):
    values = {name: weights if value == "WEIGHTS" else value for name, value in options.items()}
    with pytest.raises(UserError) as caught:
        encoders.frozen(config(**values))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
