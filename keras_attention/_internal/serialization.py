"""The parts of a layer: saved to configs and made from them, built once, owned by one layer."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.backend.common import global_state
from keras.src.saving.serialization_lib import ObjectSharingScope


@contextlib.contextmanager
def sharing_scope() -> Iterator[None]:
    """A scope in which a layer that is saved twice is loaded once, by the id in its configs.

    Keras opens one to save and to load a file, but none to clone a model; a second one would end
    the first.
    """
    is_open = global_state.get_global_attribute("shared_objects/id_to_obj_map") is not None
    with contextlib.nullcontext() if is_open else ObjectSharingScope():
        yield


def serialize(part: Any) -> Any:
    """Returns the config of `part`, with the id by which other layers may share parts of it.

    Keras writes the shared id only when a layer is serialized again: without the second call a
    nested copy of the config would miss it.
    """
    keras.saving.serialize_keras_object(part)
    return keras.saving.serialize_keras_object(part)


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


def build_once(layer: keras.layers.Layer, *shapes: Any) -> None:
    """Builds a sublayer, unless loading a `.keras` file has built it already."""
    if not layer.built:
        layer.build(*shapes)
