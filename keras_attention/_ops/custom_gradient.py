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
            if upstream is None:
                return gradients_of(args[0])
            # To torch, what was computed on the way to `value` is a constant. Where it records what
            # happens here, to differentiate it again, that has to be computed again.
            recorded = any(x[:0].requires_grad for x in args)
            return (function(*args)[1] if recorded else gradients_of)(upstream)

        return value, gradients

    return wrapped
