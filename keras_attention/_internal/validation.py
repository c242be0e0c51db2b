"""Checks of arguments: a `ValueError` that names the argument, what came and what is expected."""

import numbers


def rank(argument, shape, axes):
    """Checks that `shape` has the axes named in `axes`, such as "(batch, length, width)"."""
    if len(shape) != axes.count(",") + 1:
        raise ValueError(f"`{argument}` has shape {tuple(shape)}; expected {axes}.")


def sequence(argument, shape):
    """Checks that `shape` is that of a sequence whose width is known."""
    rank(argument, shape, "(batch, steps, width)")
    static_dim(argument, shape)


def static_dim(argument, shape):
    """Checks that the last axis of `shape` is known."""
    if shape[-1] is None:
        raise ValueError(
            f"`{argument}` has shape {tuple(shape)}; expected a shape whose last axis is known."
        )


def equal(argument, size, other, other_size, axis):
    """Checks that two static sizes agree; an unknown size (None) agrees with any."""
    if size is not None and other_size is not None and size != other_size:
        raise ValueError(
            f"`{argument}` has {axis} {size}, but `{other}` has {axis} {other_size}; "
            f"expected the same {axis} in both."
        )


def shapes_match(actual, expected):
    """Whether two shapes agree; an unknown size (None) agrees with any."""
    return len(actual) == len(expected) and all(
        size is None or other is None or size == other
        for size, other in zip(actual, expected, strict=True)
    )


def mask(argument, mask, shape, axes):
    """Checks that `mask`, if there is one, has `shape`, in which None is an unknown size."""
    if mask is None:
        return
    actual = tuple(mask.shape)
    if not shapes_match(actual, shape):
        raise ValueError(f"`{argument}` has shape {actual}; expected {tuple(shape)}, {axes}.")


def broadcastable(argument, mask, shape):
    """Checks that `mask`, if there is one, broadcasts to `shape`."""
    if mask is None:
        return
    actual = tuple(mask.shape)
    matches = len(actual) in (2, 3) and all(
        size in (None, 1) or other is None or size == other
        for size, other in zip(actual, shape[-len(actual) :], strict=True)
    )
    if not matches:
        raise ValueError(
            f"`{argument}` has shape {actual}; expected {tuple(shape)}, (batch, queries, memory), "
            "or (queries, memory)."
        )


def positive_integer(argument, value):
    """Returns `value` if it is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"`{argument}` is {value!r}; expected an integer of at least 1.")
    return int(value)


def not_negative(argument, value):
    """Returns `value` if it is a number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not float(value) >= 0:
        raise ValueError(f"`{argument}` is {value!r}; expected a number of at least 0.")
    return value


def positive(argument, value):
    """Returns `value` if it is a number above 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not float(value) > 0:
        raise ValueError(f"`{argument}` is {value!r}; expected a number above 0.")
    return value


def probability(argument, value):
    """Returns `value` if it lies in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) <= 1:
        raise ValueError(f"`{argument}` is {value!r}; expected a number in [0, 1].")
    return value


def dropout_rate(argument, value):
    """Returns `value` if it lies in [0, 1), as a dropout rate does."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) < 1:
        raise ValueError(f"`{argument}` is {value!r}; expected a number in [0, 1).")
    return value
