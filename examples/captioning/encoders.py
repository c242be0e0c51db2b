"""Encoders of photographs, cut where the places of their maps still know little of one another.

The last map of a network for ImageNet has few places, 7 x 7, each of which has seen the whole
picture: attention to one of them means little. An earlier one has 14 x 14, as that of Xu et al.
2015, and knows less of what it sees. So each place has both: its own features, and beside them the
last map's, resized.

They are frozen, so that what they give is computed once and kept; or their last layers are trained.
"""

import inspect
import warnings
from pathlib import Path

import keras

from examples.captioning import efficientnet
from examples.captioning.config import Config
from examples.common.errors import UserError

STRIDE = 16  # pixels from one place to the next


def frozen(config: Config) -> keras.Model | int:
    """The frozen network in front of the trained one; if there is none, the pictures' size."""
    check(config)
    return config.size if config.encoder == "cnn" or config.train_encoder else pretrained(config)


def pretrained(config: Config) -> keras.Model:
    """From pixels (B, size, size, 3) in 0..255 to a map (B, size / 16, size / 16, C).

    All but the last `config.train_encoder` layers are frozen. So are all batch normalizations: the
    statistics of small batches would undo what they have learned.
    """
    network = _lite0(config) if config.encoder == "efficientnet" else _application(config)
    fine, coarse = network.outputs
    beside = keras.layers.Resizing(*fine.shape[1:3])(coarse)
    return keras.Model(network.input, keras.layers.Concatenate()([fine, beside]), name="pretrained")


def check(config: Config) -> None:
    """Raises UserError if there is no such encoder, or its file of weights is missing."""
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
    if config.encoder in ("cnn", "efficientnet"):
        return
    names = [name for name, value in vars(keras.applications).items() if inspect.isfunction(value)]
    if config.encoder not in names:
        raise UserError(
            f"--encoder {config.encoder}: expected cnn, efficientnet or one of {', '.join(names)}"
        )
    if not path:
        raise UserError(f"--encoder {config.encoder} needs --encoder-weights, a file of them")


def _lite0(config: Config) -> keras.Model:
    path = config.encoder_weights
    whole = efficientnet.encoder(Path(path) if path else None)
    # What the widening convolutions read: all that there is at these sizes, in few channels.
    maps = [whole.get_layer(name).input for name in ("blocks.11.expand_conv", "conv_head")]
    network = keras.Model(whole.input, maps)
    _train_last(network, config)
    return network


def _application(config: Config) -> keras.Model:
    """The last map of 16 pixels a place, and the last one, of a network of `keras.applications`."""
    make = getattr(keras.applications, config.encoder)
    shape, side = (config.size, config.size, 3), config.size // STRIDE
    base = make(include_top=False, weights=None, input_shape=shape)
    fine = [layer.output for layer in base.layers if _is_map(layer.output, side)]
    if not fine or _is_map(base.output, side):
        raise UserError(
            f"--encoder {config.encoder}: it has no map of {side} x {side} places for --size "
            f"{config.size}; expected another network or size"
        )
    _load_weights(base, Path(config.encoder_weights))
    pixels = keras.Input(shape, name="pixels")
    maps = keras.Model(base.input, [fine[-1], base.output])
    _train_last(maps, config)
    # From 0..255 to what its weights were learned with.
    return keras.Model(pixels, maps(inspect.getmodule(make).preprocess_input(pixels)))


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


def _is_map(output, side: int) -> bool:
    return getattr(output, "shape", ())[1:3] == (side, side)
