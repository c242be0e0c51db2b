"""The dtype of sums and exponentials."""

from typing import Any

import keras
from keras import ops

from keras_attention._internal.typing import Tensor

_LARGEST_SCORE = 1e29  # A masked score is -1e30.


def at_least_float32(dtype: Any) -> str:
    """Returns a floating dtype, float32 in place of a shorter one.

    Keras's `result_type` makes float32 of float64 on PyTorch.
    """
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"


def finite_scores(scores: Tensor) -> Tensor:
    """Returns `scores` in at least float32. An overflow is a large score, which a mask can hide."""
    dtype = keras.backend.standardize_dtype(scores.dtype)
    scores = ops.cast(scores, at_least_float32(dtype))
    return ops.clip(scores, -_LARGEST_SCORE, _LARGEST_SCORE) if dtype == "float16" else scores
