"""Sparse alignments: unlike in a softmax, small weights become exactly zero."""

from collections.abc import Callable
from typing import Any, final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal.typing import Tensor
from keras_attention.alignments.base import Alignment


@final
@keras.saving.register_keras_serializable("keras_attention")
class Sparsemax(Alignment):
    """The Euclidean projection of the scores onto the simplex.

        a = argmin_p |p - e|^2 = max(e - tau, 0)                        (eq. 2-3; proposition 1)

    where tau makes the weights sum to 1.

    Masking: only the allowed scores are projected. A row that allows none gets zero weights.

    Example:

    >>> weights, _ = ka.alignments.Sparsemax()(np.array([[[2.0, 1.5, 0.0]]]))
    >>> np.array(weights)[0, 0].tolist()
    [0.75, 0.25, 0.0]

    Reference: Martins, Astudillo 2016, "From Softmax to Sparsemax", arXiv:1602.02068.
    """

    names = ("sparsemax",)

    def call(
        self,
        scores: Tensor,
        mask: Tensor = None,
        query: Tensor = None,
        state: Any = (),
        noise: Any = (),
    ) -> tuple[Tensor, Any]:
        return _project(_sparsemax, scores, mask), state


@final
@keras.saving.register_keras_serializable("keras_attention")
class Entmax15(Alignment):
    """Entmax with alpha = 1.5, halfway between softmax (alpha = 1) and sparsemax (alpha = 2).

        a = max(e / 2 - tau, 0)^2

    where tau makes the weights sum to 1.

    Masking: the weights are those of the allowed scores alone. A row that allows none gets zero
    weights.

    Example:

    >>> weights, _ = ka.alignments.Entmax15()(np.array([[[2.0, 1.0, -2.0]]]))
    >>> np.array(weights, float)[0, 0].round(4).tolist()
    [0.8307, 0.1693, 0.0]

    Reference: Peters, Niculae, Martins 2019, "Sparse Sequence-to-Sequence Models",
    arXiv:1905.05702, section 3 and algorithm 2.
    """

    names = ("entmax15",)

    def call(
        self,
        scores: Tensor,
        mask: Tensor = None,
        query: Tensor = None,
        state: Any = (),
        noise: Any = (),
    ) -> tuple[Tensor, Any]:
        return _project(_entmax15, scores, mask), state


# Scores this far below the highest have zero weight; clipping them keeps long sums accurate.
_FLOOR = -4.0


def _project(projection: Callable, scores: Tensor, mask: Tensor) -> Tensor:
    shifted = masks.mask_scores(scores, mask)
    # `initial`: without positions there is no largest score.
    largest = ops.max(shifted, axis=-1, keepdims=True, initial=masks.MASKED_SCORE)
    shifted = shifted - ops.stop_gradient(largest)
    weights = projection(ops.maximum(shifted, _FLOOR))
    if mask is not None:
        weights = ops.where(ops.cast(mask, "bool"), weights, 0.0)
    return ops.cast(weights, scores.dtype)


# Both find their support from the sorted scores, and tau from the scores in the support, so that no
# gradient passes through the sorting.


def _sparsemax(scores: Tensor) -> Tensor:
    ordered, counts = _sorted_with_counts(scores)
    in_support = 1 + counts * ordered > ops.cumsum(ordered, axis=-1)
    support = _support(scores, ordered, in_support)
    size = ops.sum(support, axis=-1, keepdims=True)
    tau = (ops.sum(support * scores, axis=-1, keepdims=True) - 1) / size
    return ops.where(support > 0, scores - tau, 0.0)


def _entmax15(scores: Tensor) -> Tensor:
    halves = scores / 2
    ordered, counts = _sorted_with_counts(halves)
    first = ops.cumsum(ordered, axis=-1) / counts
    second = ops.cumsum(ordered**2, axis=-1) / counts
    delta = ops.maximum((1 - counts * (second - first**2)) / counts, 0)
    support = _support(halves, ordered, first - ops.sqrt(delta) <= ordered)
    size = ops.sum(support, axis=-1, keepdims=True)
    mean = ops.sum(support * halves, axis=-1, keepdims=True) / size
    spread = ops.sum(support * (halves - mean) ** 2, axis=-1, keepdims=True)
    tau = mean - ops.sqrt((1 - spread) / size)
    return support * (halves - tau) ** 2


def _sorted_with_counts(scores: Tensor) -> tuple[Tensor, Tensor]:
    ordered = ops.stop_gradient(ops.flip(ops.sort(scores, axis=-1), axis=-1))
    return ordered, ops.cumsum(ops.ones_like(ordered), axis=-1)


def _support(scores: Tensor, ordered: Tensor, in_support: Tensor) -> Tensor:
    """Returns 1 for scores in the support, 0 elsewhere; `in_support` is of the sorted scores."""
    # Rounding errors of long sums must not add scores far below.
    in_support = ops.logical_and(in_support, ordered > _FLOOR / 2)
    lowest = ops.min(ops.where(in_support, ordered, 0.0), axis=-1, keepdims=True, initial=0.0)
    return ops.stop_gradient(ops.cast(scores >= lowest, scores.dtype))
