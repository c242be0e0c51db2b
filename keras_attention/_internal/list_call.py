"""The call of `keras.layers.Attention`, with a list, for layers with several tensor arguments."""

from typing import Any

import keras


class ListCall(keras.layers.Layer):
    """A layer with `call(query, value, ...)` that `layer([query, value], mask=[...])` calls too.

    The list is unpacked before Keras sees it: `build` gets a shape per argument either way.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], (list, tuple)):
            args, kwargs = _unpack(*args, **kwargs)
        return super().__call__(*args, **kwargs)


def _unpack(inputs: Any, mask: Any = None, **kwargs: Any) -> tuple[tuple, dict[str, Any]]:
    if len(inputs) not in (2, 3):
        raise ValueError(
            f"`query` is a list of {len(inputs)}; expected a tensor, or a list "
            "[query, value] or [query, value, key]."
        )
    names = ("query_mask", "value_mask", "key_mask")[: len(inputs)]
    if mask is not None and (not isinstance(mask, (list, tuple)) or len(mask) > len(names)):
        raise ValueError(
            f"`mask` is a {type(mask).__name__}; expected a list of one mask, or None, for each of "
            f"the {len(inputs)} inputs: {', '.join(names)}."
        )
    given = zip(names, mask or (), strict=False)
    return tuple(inputs), {**kwargs, **{name: x for name, x in given if x is not None}}
