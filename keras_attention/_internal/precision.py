"""The dtype of sums and exponentials."""

from typing import Any

import keras


def at_least_float32(dtype: Any) -> str:
    """Returns a floating dtype, float32 in place of a shorter one.

    Keras's `result_type` makes float32 of float64 on PyTorch.
    """
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"
