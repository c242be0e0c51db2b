"""The parts of a layer: made from configs, built once, owned by one layer."""

import copy
from typing import Any

import keras

from keras_attention._internal.typing import Shape


def deserialize(part: Any) -> Any:
    """Returns `part`, made from its config if it is one."""
    # A copy, since some of Keras's layers take their config apart.
    is_config = isinstance(part, dict)
    return keras.saving.deserialize_keras_object(copy.deepcopy(part)) if is_config else part


def clone_initializer(initializer: Any) -> Any:
    """Returns an initializer for one more variable.

    An instance without a seed samples once: two variables initialized by it would be equal.
    """
    is_instance = isinstance(initializer, keras.initializers.Initializer)
    return initializer.clone() if is_instance else initializer


def take_ownership(argument: str, part: Any, owner: keras.layers.Layer) -> Any:
    """Returns `part`, which belongs to the layer `owner` from now on.

    A part shared by two layers would be saved twice, and loaded into one of them only.
    """
    if getattr(part, "_owner", None) is not None:
        raise ValueError(
            f"`{argument}` is a {type(part).__name__} that '{part._owner}' already owns; "
            f"expected a new one for '{owner.name}'."
        )
    part._owner = owner.name
    return part


def add_kernel(layer: Any, name: str, shape: Shape) -> keras.Variable:
    """Adds a variable to `layer`, with an initializer like its `kernel_initializer`."""
    initializer = clone_initializer(layer.kernel_initializer)
    return layer.add_weight(name=name, shape=shape, initializer=initializer)


def build_once(layer: keras.layers.Layer, *shapes: Any) -> None:
    """Builds a sublayer, unless loading a `.keras` file has built it already."""
    if not layer.built:
        layer.build(*shapes)
