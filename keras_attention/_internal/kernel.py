"""The kernels of a layer: `kernel_initializer`, `kernel_regularizer` and `kernel_constraint`."""

from typing import Any

import keras

from keras_attention._internal.serialization import clone_initializer
from keras_attention._internal.typing import Config, Shape


def set_kernel_options(layer: Any, initializer: Any, regularizer: Any, constraint: Any) -> None:
    """Keeps the options of a layer's kernels on the layer, each made from its identifier."""
    layer.kernel_initializer = keras.initializers.get(initializer)
    layer.kernel_regularizer = keras.regularizers.get(regularizer)
    layer.kernel_constraint = keras.constraints.get(constraint)


def kernel_options(layer: Any) -> dict[str, Any]:
    """Returns the options of a layer's kernels as arguments of one more layer with such kernels."""
    return {
        "kernel_initializer": clone_initializer(layer.kernel_initializer),
        "kernel_regularizer": layer.kernel_regularizer,
        "kernel_constraint": layer.kernel_constraint,
    }


def kernel_config(layer: Any) -> Config:
    """Returns the options of a layer's kernels for `get_config`."""
    return {
        "kernel_initializer": keras.initializers.serialize(layer.kernel_initializer),
        "kernel_regularizer": keras.regularizers.serialize(layer.kernel_regularizer),
        "kernel_constraint": keras.constraints.serialize(layer.kernel_constraint),
    }


def add_kernel(layer: Any, name: str, shape: Shape) -> keras.Variable:
    """Adds a variable to `layer`, with its kernels' initializer, regularizer and constraint."""
    options = {
        name.removeprefix("kernel_"): option for name, option in kernel_options(layer).items()
    }
    return layer.add_weight(name=name, shape=shape, **options)
