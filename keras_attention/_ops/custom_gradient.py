"""Functions with a gradient of their own, written the same way for every backend."""

import functools
from collections.abc import Callable
from typing import Any

from keras import backend, ops

from keras_attention._internal.typing import Tensor


def custom_gradient(function: Callable) -> Callable:
    """Like `ops.custom_gradient`, for a function that returns `(value, gradients_of)`.

    `gradients_of(upstream)` returns the gradients. Keras passes `upstream` by name on torch and as
    the only argument elsewhere.
    """
    if backend.backend() != "torch":
        return ops.custom_gradient(function)

    @ops.custom_gradient
    @functools.wraps(function)
    def wrapped(*tensors: Tensor) -> Any:
        value, gradients_of = function(*tensors)

        def gradients(*args: Tensor, upstream: Tensor) -> Any:
            # For torch all intermediate values are constants. If it records this call for a second
            # gradient, they must be computed again.
            recorded = any(x[:0].requires_grad for x in args)
            return (function(*args)[1] if recorded else gradients_of)(upstream)

        return value, gradients

    return wrapped
