"""The parts that attention layers are composed of: scores and alignments."""

import abc
import warnings
from typing import Any

import keras

from keras_attention._internal.serialization import deserialize
from keras_attention._internal.typing import Config, Tensor

# The hooks as subclasses of version 0.1.0 override them.
_OLD_HOOKS = {
    "add_score_weights": "add_variables",
    "add_alignment_weights": "add_variables",
    "project": "make_keys",
    "draw_noise": "sample_noise",
    "stepwise": "sequential",
}


class Part(keras.layers.Layer, abc.ABC):
    """Abstract: a part of an attention layer. `names` are the strings that stand for its class."""

    names: tuple[str, ...] = ()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for old, new in _OLD_HOOKS.items():
            if old in vars(cls) and new not in vars(cls):
                message = f"`{cls.__name__}.{old}` is now called `{new}`"
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                setattr(cls, new, vars(cls)[old])

    def compute_mask(self, inputs: Tensor, previous_mask: Any = None) -> None:
        """Returns None: a mask of queries or scores says nothing about the axes of the output."""

    def get_config(self) -> Config:
        # Stated here, as Keras infers no config when a dtype policy is among the arguments.
        return dict(super().get_config())


def get_part(
    argument: str, identifier: Any, part_class: type[Part], dtype: Any, **options: Any
) -> Any:
    """Returns the part that `identifier` stands for: a name, a config, or the part itself.

    Args:
        argument: The argument's name, for the error.
        identifier: Its value.
        part_class: The abstract class of the parts.
        dtype: Dtype policy of a part made from a name.
        options: Further arguments of a part made from a name.
    """
    part = deserialize(identifier)
    # Of the library's own classes: a user's subclass must not take over a name for all layers.
    ours = [cls for cls in _subclasses(part_class) if cls.__module__.startswith("keras_attention.")]
    by_name = {name: cls for cls in ours for name in vars(cls).get("names", ())}
    if isinstance(part, str) and part in by_name:
        part = by_name[part](dtype=dtype, **options)
    if not isinstance(part, part_class):
        names = ", ".join(map(repr, by_name))
        raise ValueError(
            f"`{argument}` is {identifier!r}; expected an instance of {part_class.__name__}, "
            f"or one of {names}."
        )
    return part


def _subclasses(part_class: type[Part]) -> list[type[Part]]:
    direct: list[type[Part]] = part_class.__subclasses__()
    return direct + [cls for subclass in direct for cls in _subclasses(subclass)]
