"""Checks of arguments: a `ValueError` that names the argument, what came and what is accepted."""

import numbers


def rank(argument, shape, axes):
    """Checks that `shape` has the axes named in `axes`, such as "(batch, length, width)"."""
    if len(shape) != axes.count(",") + 1:
        raise ValueError(f"`{argument}` has shape {tuple(shape)}; accepted is {axes}.")


def sequence(argument, shape):
    """Checks that `shape` is that of a sequence whose width is known."""
    rank(argument, shape, "(batch, steps, width)")
    known_width(argument, shape)


def known_width(argument, shape):
    """Checks that the last axis of `shape` is known."""
    if shape[-1] is None:
        raise ValueError(
            f"`{argument}` has shape {tuple(shape)}; accepted is a shape whose last axis is known."
        )


def equal(argument, size, other, other_size, axis):
    """Checks that two static sizes agree; an unknown size (None) agrees with any."""
    if size is not None and other_size is not None and size != other_size:
        raise ValueError(
            f"`{argument}` has {axis} {size}, but `{other}` has {axis} {other_size}; "
            f"accepted is the same {axis} in both."
        )


def fits(came, accepted):
    """Whether two shapes agree; an unknown size (None) agrees with any."""
    return len(came) == len(accepted) and all(
        size is None or wanted is None or size == wanted
        for size, wanted in zip(came, accepted, strict=True)
    )


def mask(argument, mask, shape, axes):
    """Checks that `mask`, if there is one, has `shape`, in which None is an unknown size."""
    if mask is None:
        return
    came = tuple(mask.shape)
    if not fits(came, shape):
        raise ValueError(f"`{argument}` has shape {came}; accepted is {tuple(shape)}, {axes}.")


def broadcastable(argument, mask, shape):
    """Checks that `mask`, if there is one, broadcasts to `shape`."""
    if mask is None:
        return
    came = tuple(mask.shape)
    fits = len(came) in (2, 3) and all(
        size in (None, 1) or wanted is None or size == wanted
        for size, wanted in zip(came, shape[-len(came) :], strict=True)
    )
    if not fits:
        raise ValueError(
            f"`{argument}` has shape {came}; accepted is {tuple(shape)}, (batch, queries, memory), "
            "or (queries, memory)."
        )


def positive_integer(argument, value):
    """Returns `value` if it is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"`{argument}` is {value!r}; accepted is an integer of at least 1.")
    return int(value)


def not_negative(argument, value):
    """Returns `value` if it is a number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not float(value) >= 0:
        raise ValueError(f"`{argument}` is {value!r}; accepted is a number of at least 0.")
    return value


def positive(argument, value):
    """Returns `value` if it is a number above 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not float(value) > 0:
        raise ValueError(f"`{argument}` is {value!r}; accepted is a number above 0.")
    return value


def probability(argument, value):
    """Returns `value` if it lies in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) <= 1:
        raise ValueError(f"`{argument}` is {value!r}; accepted is a number in [0, 1].")
    return value


def fraction(argument, value):
    """Returns `value` if it lies in [0, 1), as a dropout rate does."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) < 1:
        raise ValueError(f"`{argument}` is {value!r}; accepted is a number in [0, 1).")
    return value
