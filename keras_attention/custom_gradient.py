"""Gradients by hand, the same way on every backend."""

import functools

from keras import backend, ops


def custom_gradient(function):
    """`ops.custom_gradient` of what returns a value, and the function from upstream to gradients.

    Gradients may be differentiated again.
    """

    @ops.custom_gradient
    @functools.wraps(function)
    def wrapped(*tensors):
        value, gradients_of = function(*tensors)

        def gradients(*args, upstream=None):
            if backend.backend() != "torch":
                return gradients_of(args[0])
            import torch

            # What was computed on the way to `value` is a constant to torch. A gradient that will
            # be differentiated has to have it computed again.
            again = torch.is_grad_enabled()
            return (function(*args)[1] if again else gradients_of)(upstream)

        return value, gradients

    return wrapped
