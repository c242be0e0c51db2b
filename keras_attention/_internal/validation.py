"""Validation of arguments: a `ValueError` names the argument, its value and what is expected."""

import math
import numbers
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_attention._internal.typing import Shape, Tensor


def rank(argument: str, shape: Shape, axes: str) -> None:
    """Checks that `shape` has the axes named in `axes`, such as "(batch, length, width)"."""
    if len(shape) != axes.count(",") + 1:
        raise ValueError(f"`{argument}` has shape {tuple(shape)}; expected {axes}.")


def query(shape: Shape, use_causal_mask: bool = False) -> None:
    """Checks that `shape` is that of queries, or of one query without the axis of steps."""
    if len(shape) not in (2, 3):
        raise ValueError(
            f"`query` has shape {tuple(shape)}; expected (batch, queries, width), or "
            "(batch, width) for one query."
        )
    if use_causal_mask and len(shape) == 2:
        raise ValueError(
            f"`use_causal_mask` is True, but `query` has shape {tuple(shape)}; expected "
            "(batch, queries, width), queries that have an order."
        )


def sequence(argument: str, shape: Shape) -> None:
    """Checks that `shape` is that of a sequence whose last axis is known."""
    rank(argument, shape, "(batch, steps, width)")
    static_dim(argument, shape)


def static_dim(argument: str, shape: Shape) -> None:
    """Checks that the last axis of `shape` is known."""
    if shape[-1] is None:
        raise ValueError(
            f"`{argument}` has shape {tuple(shape)}; expected a shape whose last axis is known."
        )


def equal(argument: str, size: int | None, other: str, other_size: int | None, axis: str) -> None:
    """Checks that two static sizes are equal; an unknown size (None) equals any."""
    if size is not None and other_size is not None and size != other_size:
        raise ValueError(
            f"`{argument}` has {axis} {size}, but `{other}` has {axis} {other_size}; "
            f"expected the same {axis} in both."
        )


def shapes_match(actual: Shape, expected: Shape) -> bool:
    """Whether two shapes are equal; an unknown size (None) equals any."""
    return len(actual) == len(expected) and all(
        size is None or other is None or size == other
        for size, other in zip(actual, expected, strict=True)
    )


def mask(argument: str, mask: Tensor, shape: Shape, axes: str) -> Tensor:
    """Returns `mask` as a tensor, or None, if it has `shape`, in which None is an unknown size."""
    if mask is None:
        return None
    mask = _to_tensor(argument, mask)
    actual = tuple(mask.shape)
    if not shapes_match(actual, shape):
        raise ValueError(f"`{argument}` has shape {actual}; expected {tuple(shape)}, {axes}.")
    return mask


def attention_mask(
    argument: str,
    mask: Tensor,
    query_shape: Shape,
    memory_length: Any,
    num_heads: int | None = None,
) -> Tensor:
    """Returns `mask` as a tensor, or None, if it broadcasts to (B, T, S), or (B, S) without T.

    With `num_heads` it may also have an axis of heads, the second one.
    """
    if mask is None:
        return None
    mask = _to_tensor(argument, mask)
    batch_size, *steps, _ = query_shape
    memory, queries = [*steps, memory_length], "queries, " if steps else ""
    shapes = {f"(batch, {queries}memory)": (batch_size, *memory)}
    if steps:
        shapes["(queries, memory)"] = tuple(memory)
    if num_heads is not None:
        shapes[f"(batch, heads, {queries}memory)"] = (batch_size, num_heads, *memory)
    actual = tuple(mask.shape)
    if not any(_broadcasts(actual, shape) for shape in shapes.values()):
        expected = ", or ".join(f"{shape}, {axes}" for axes, shape in shapes.items())
        raise ValueError(f"`{argument}` has shape {actual}; expected {expected}.")
    return mask


def _to_tensor(argument: str, mask: Any) -> Tensor:
    """Returns `mask`, which may be nested lists of booleans too."""
    if hasattr(mask, "shape"):
        return mask
    try:
        return ops.convert_to_tensor(mask)
    except (TypeError, ValueError):
        raise ValueError(
            f"`{argument}` is {mask!r}; expected booleans, with rows of equal lengths."
        ) from None


def _broadcasts(actual: Shape, shape: Shape) -> bool:
    return len(actual) == len(shape) and all(
        size in (None, 1) or other is None or size == other
        for size, other in zip(actual, shape, strict=True)
    )


def built(layer: keras.layers.Layer) -> None:
    """Checks that `layer` has its variables, if it may have any."""
    if not layer.built and type(layer).build is not keras.layers.Layer.build:
        raise ValueError(
            f"{type(layer).__name__} '{layer.name}' is not built; call it once, or the model that "
            "owns it."
        )


def not_symbolic(argument: str, value: Any, method: str) -> None:
    """Checks that `value`, an argument of `method`, is not a nest of `keras.Input`."""
    if any(isinstance(leaf, keras.KerasTensor) for leaf in keras.tree.flatten(value)):
        raise ValueError(
            f"`{argument}` is symbolic, a KerasTensor; expected a tensor: call `{method}` in the "
            "`call` of a layer or model. For the weights of a functional model use "
            "`ka.attention_model`."
        )


def positive_integer(argument: str, value: Any) -> int:
    """Returns `value` if it is an integer of at least 1."""
    return _integer(argument, value, 1)


def non_negative_integer(argument: str, value: Any) -> int:
    """Returns `value` if it is an integer of at least 0."""
    return _integer(argument, value, 0)


def not_negative(argument: str, value: Any) -> Any:
    """Returns `value` if it is a number of at least 0."""
    return _number(argument, value, lambda x: x >= 0, "a number of at least 0")


def positive(argument: str, value: Any) -> Any:
    """Returns `value` if it is a number above 0."""
    return _number(argument, value, lambda x: x > 0, "a number above 0")


def finite(argument: str, value: Any) -> Any:
    """Returns `value` if it is a finite number."""
    return _number(argument, value, math.isfinite, "a finite number")


def at_least(argument: str, value: Any, least: float) -> Any:
    """Returns `value` if it is a number of at least `least`."""
    return _number(
        argument, value, lambda x: least <= x < math.inf, f"a number of at least {least}"
    )


def probability(argument: str, value: Any) -> Any:
    """Returns `value` if it is in [0, 1]."""
    return _number(argument, value, lambda x: 0 <= x <= 1, "a number in [0, 1]")


def dropout_rate(argument: str, value: Any) -> Any:
    """Returns `value` if it is in [0, 1)."""
    return _number(argument, value, lambda x: 0 <= x < 1, "a number in [0, 1)")


def _integer(argument: str, value: Any, at_least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < at_least:
        raise ValueError(f"`{argument}` is {value!r}; expected an integer of at least {at_least}.")
    return int(value)


def _number(argument: str, value: Any, in_range: Callable[[Any], bool], expected: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not in_range(value):
        raise ValueError(f"`{argument}` is {value!r}; expected {expected}.")
    return value
