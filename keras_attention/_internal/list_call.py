"""The call of `keras.layers.Attention`, with a list, for layers with several tensor arguments."""

import inspect
from typing import Any

import keras


class ListCall(keras.layers.Layer):
    """A layer with `call(query, value, ...)` that `layer([query, value], mask=[...])` calls too.

    The list is unpacked before Keras sees it: `build` gets a shape per argument either way.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], (list, tuple)):
            parameters = inspect.signature(self.call).parameters
            names = [name for name in ("query", "value", "key") if name in parameters]
            args, kwargs = _unpack(names, *args, **kwargs)
        return super().__call__(*args, **kwargs)


def _unpack(
    names: list[str], inputs: Any, mask: Any = None, **kwargs: Any
) -> tuple[tuple, dict[str, Any]]:
    if not 2 <= len(inputs) <= len(names):
        lists = " or ".join(f"[{', '.join(names[:n])}]" for n in range(2, len(names) + 1))
        raise ValueError(
            f"`query` is a list of {len(inputs)}; expected a tensor, or a list {lists}."
        )
    masks = [f"{name}_mask" for name in names[: len(inputs)]]
    if mask is not None and (not isinstance(mask, (list, tuple)) or len(mask) > len(masks)):
        raise ValueError(
            f"`mask` is a {type(mask).__name__}; expected a list of one mask, or None, for each of "
            f"the {len(inputs)} inputs: {', '.join(masks)}."
        )
    given = zip(masks, mask or (), strict=False)
    return tuple(inputs), {**kwargs, **{name: x for name, x in given if x is not None}}
