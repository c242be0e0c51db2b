"""Encoders of photographs, whose places know mostly what is there.

The last map of a network for ImageNet has 7 x 7 places for 224 pixels. For twice as many it has
14 x 14, as in Xu et al. 2015. Its receptive field is still wider than the picture, but weighs the
middle most, and the middle is now a smaller part of the picture. Beside it lies the last map of the
picture at half its size, resized. That one has seen the whole picture, with things as large as in
the pictures that the network learned from.

They are frozen, so that what they give is computed once and kept; or their last layers are trained.
"""

import inspect
import warnings
from pathlib import Path

import keras

from examples.captioning import efficientnet
from examples.captioning.config import Config
from examples.common.errors import UserError

STRIDE = 32  # pixels from one place to the next


def frozen(config: Config) -> keras.Model | int:
    """The frozen network in front of the trained one; if there is none, the pictures' size."""
    check(config)
    return config.size if config.encoder == "cnn" or config.train_encoder else pretrained(config)


def pretrained(config: Config) -> keras.Model:
    """From pixels (B, size, size, 3) in 0..255 to a map of about (B, size / 32, size / 32, 2 C).

    All but the last `config.train_encoder` layers are frozen. All batch normalizations are, since
    small batches would undo what they have learned, and nothing is dropped.
    """
    network = _lite0(config) if config.encoder == "efficientnet" else _application(config)
    pixels = keras.Input((config.size, config.size, 3), name="pixels")
    halved = keras.layers.AveragePooling2D(2)(pixels)
    fine, coarse = (network(each, training=False) for each in (pixels, halved))
    beside = keras.layers.Resizing(*fine.shape[1:3])(coarse)
    return keras.Model(pixels, keras.layers.Concatenate()([fine, beside]), name="pretrained")


def check(config: Config) -> None:
    """Raises UserError without such an encoder or its weights, or if the size does not fit it."""
    path = config.encoder_weights
    if config.train_encoder and config.encoder == "cnn":
        raise UserError(
            f"--train-encoder {config.train_encoder}: expected none with --encoder cnn, all of "
            "which is trained"
        )
    if path and config.encoder == "cnn":
        raise UserError(f"--encoder-weights {path}: expected none with --encoder cnn")
    if path and not Path(path).exists():
        raise UserError(f"{path}: no such file")
    if config.encoder == "cnn":
        config.require("patch_dropout", not config.patch_dropout, "0 with --encoder cnn")
        return
    if config.encoder != "efficientnet":
        _check_application(config)
    # In pictures of other sizes networks of Keras see different places than those that fit them.
    fits = config.size >= 4 * STRIDE and config.size % (2 * STRIDE) == 0
    expected = f"a multiple of {2 * STRIDE} from {4 * STRIDE}, best 448, with a pretrained encoder"
    config.require("size", fits, expected)


def _check_application(config: Config) -> None:
    names = [name for name, value in vars(keras.applications).items() if inspect.isfunction(value)]
    names = [name for name in names if "NASNet" not in name]  # It takes pictures of one size only.
    if config.encoder not in names:
        raise UserError(
            f"--encoder {config.encoder}: expected cnn, efficientnet or one of {', '.join(names)}"
        )
    if not config.encoder_weights:
        raise UserError(f"--encoder {config.encoder} needs --encoder-weights, a file of them")


def _lite0(config: Config) -> keras.Model:
    path = config.encoder_weights
    whole = efficientnet.encoder(Path(path) if path else None)
    # What its last convolution reads: all that there is, in a quarter of the channels.
    network = keras.Model(whole.input, whole.get_layer("conv_head").input)
    _train_last(network, config)
    return network


def _application(config: Config) -> keras.Model:
    """A network of `keras.applications`, from pixels in 0..255, with the weights of the file."""
    make, shape = getattr(keras.applications, config.encoder), (None, None, 3)
    base = make(include_top=False, weights=None, input_shape=shape)
    sides = config.size, config.size // 2
    try:
        for side in sides:
            base.compute_output_shape((None, side, side, 3))
    except ValueError:
        raise UserError(
            f"--encoder {config.encoder}: it does not take pictures of {sides[0]} and {sides[1]} "
            "pixels; expected another network or --size"
        ) from None
    _load_weights(base, Path(config.encoder_weights))
    _train_last(base, config)
    pixels = keras.Input(shape, name="pixels")
    return keras.Model(pixels, base(inspect.getmodule(make).preprocess_input(pixels)))


def _train_last(network: keras.Model, config: Config) -> None:
    count, normalization = config.train_encoder, keras.layers.BatchNormalization
    layers = [each for each in network.layers if each.weights]
    layers = [each for each in layers if not isinstance(each, normalization)]
    config.require("train_encoder", count <= len(layers), f"at most its {len(layers)} layers")
    for layer in network.layers:
        layer.trainable = layer in layers[len(layers) - count :]


def _load_weights(model: keras.Model, path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Keras only warns of layers that keep random weights
            model.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not weights of {model.name} without its top ({reason})") from None
