"""Scores of half precision that overflowed, as numbers that a mask can still hide."""

from keras import backend, ops

from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.typing import Tensor
from keras_attention.masks import MASKED_SCORE


def finite_scores(scores: Tensor) -> Tensor:
    """Returns scores in at least float32; those that overflowed float16 become -1e29 or 1e29.

    This is large, and still above the score of what is masked.
    """
    dtype = backend.standardize_dtype(scores.dtype)
    scores = ops.cast(scores, at_least_float32(dtype))
    return ops.clip(scores, MASKED_SCORE / 10, -MASKED_SCORE / 10) if dtype == "float16" else scores
