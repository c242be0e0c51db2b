"""Checks of arguments: a `ValueError` that names the argument, what came and what is accepted."""

import math


def rank(argument, shape, axes):
    """Checks that `shape` has the axes named in `axes`, such as "(batch, length, width)"."""
    if len(shape) != axes.count(",") + 1:
        raise ValueError(f"`{argument}` has shape {tuple(shape)}; accepted is {axes}.")


def equal(argument, size, other, other_size, axis):
    """Checks that two static sizes agree; an unknown size (None) agrees with any."""
    if size is not None and other_size is not None and size != other_size:
        raise ValueError(
            f"`{argument}` has {axis} {size}, but `{other}` has {axis} {other_size}; "
            f"accepted is the same {axis} in both."
        )


def positive_integer(argument, value):
    """Returns `value` if it is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"`{argument}` is {value!r}; accepted is an integer of at least 1.")
    return value


def fraction(argument, value):
    """Returns `value` if it lies in [0, 1), as a dropout rate does."""
    if not 0 <= value < 1 or math.isnan(value):
        raise ValueError(f"`{argument}` is {value!r}; accepted is a number in [0, 1).")
    return value
