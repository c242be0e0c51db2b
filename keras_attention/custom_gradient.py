"""Gradients by hand, the same way on every backend."""

import functools

from keras import ops


def custom_gradient(function):
    """`ops.custom_gradient` of what returns a value, and the function from upstream to gradients.

    Keras hands the upstream over by name on torch, and as the first argument elsewhere.
    """

    @ops.custom_gradient
    @functools.wraps(function)
    def wrapped(*tensors):
        value, gradients_of = function(*tensors)

        def gradients(*args, upstream=None):
            return gradients_of(args[0] if upstream is None else upstream)

        return value, gradients

    return wrapped
