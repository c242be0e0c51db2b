"""Identifiers: what may stand for a part of a layer, as Keras has it for activations."""

import copy

import keras


def get_part(argument, identifier, part_class, by_name, dtype):
    """Returns the part that `identifier` names: a name, a config, or the part itself.

    Args:
        argument: The argument's name, for the error.
        identifier: What came.
        part_class: The abstract class of the parts.
        by_name: The classes that a name stands for.
        dtype: Dtype policy of a part made from a name.
    """
    part = deserialize(identifier)
    if isinstance(part, str) and part in by_name:
        part = by_name[part](dtype=dtype)
    if not isinstance(part, part_class):
        names = ", ".join(map(repr, by_name))
        raise ValueError(
            f"`{argument}` is {identifier!r}; expected a {part_class.__name__} or one of {names}."
        )
    return part


def deserialize(part):
    """Returns `part`, made from its config if it is one."""
    # A copy, since some of Keras's layers take their config apart.
    is_config = isinstance(part, dict)
    return keras.saving.deserialize_keras_object(copy.deepcopy(part)) if is_config else part


def clone_initializer(initializer):
    """Returns an initializer for one more weight.

    One instance without a seed draws once: two weights made by it would be equal.
    """
    is_instance = isinstance(initializer, keras.initializers.Initializer)
    return initializer.clone() if is_instance else initializer


def take_ownership(argument, part, owner):
    """Returns `part`, which belongs to the layer `owner` from now on.

    A part shared by two layers would be saved twice and loaded into one of them only.
    """
    if getattr(part, "_owner", None) is not None:
        raise ValueError(
            f"`{argument}` is a {type(part).__name__} that '{part._owner}' already owns; "
            f"expected a new one for '{owner.name}'."
        )
    part._owner = owner.name
    return part


def add_kernel(layer, name, shape):
    """Adds a weight to `layer`, from an initializer like its `kernel_initializer`."""
    initializer = clone_initializer(layer.kernel_initializer)
    return layer.add_weight(name=name, shape=shape, initializer=initializer)


def build_once(layer, *shapes):
    """Builds a sublayer, unless loading a `.keras` file has built it already."""
    if not layer.built:
        layer.build(*shapes)
