"""Sparse alignments: weights that are exactly zero where a softmax's are small."""

from typing import final

import keras
from keras import ops

from keras_attention import masks
from keras_attention.alignments.base import Alignment


@final
@keras.saving.register_keras_serializable("keras_attention")
class Sparsemax(Alignment):
    """The Euclidean projection of the scores onto the simplex.

        a = argmin_p |p - e|^2 = max(e - tau, 0)                        (eq. 1; proposition 1)

    with tau such that the weights sum to 1.

    Masking: the projection is that of the allowed scores; a row that allows none gets zero weights.

    Example:

    >>> weights, _ = ka.alignments.Sparsemax()(np.array([[[2.0, 1.5, 0.0]]]))
    >>> np.array(weights)[0, 0].tolist()
    [0.75, 0.25, 0.0]

    Reference: Martins, Astudillo 2016, "From Softmax to Sparsemax", arXiv:1602.02068.
    """

    sequential = False

    def add_variables(self, query_width):
        pass

    def call(self, scores, mask=None, query=None, state=(), noise=()):
        return _masked(_sparsemax, scores, mask), state

    def initial_state(self, value):
        return ()

    def sample_noise(self, shape, training):
        return ()


@final
@keras.saving.register_keras_serializable("keras_attention")
class Entmax15(Alignment):
    """Entmax with alpha = 1.5, half way from softmax (1) to sparsemax (2).

        a = max(e / 2 - tau, 0)^2

    with tau such that the weights sum to 1.

    Masking: as for the allowed scores alone; a row that allows none gets zero weights.

    Example:

    >>> weights, _ = ka.alignments.Entmax15()(np.array([[[2.0, 1.0, -2.0]]]))
    >>> np.array(weights, float)[0, 0].round(4).tolist()
    [0.8307, 0.1693, 0.0]

    Reference: Peters, Niculae, Martins 2019, "Sparse Sequence-to-Sequence Models",
    arXiv:1905.05702, section 3 and algorithm 2.
    """

    sequential = False

    def add_variables(self, query_width):
        pass

    def call(self, scores, mask=None, query=None, state=(), noise=()):
        return _masked(_entmax15, scores, mask), state

    def initial_state(self, value):
        return ()

    def sample_noise(self, shape, training):
        return ()


# No score so far below the highest has weight. Sums of many such stay small.
_FLOOR = -4.0


def _masked(transform, scores, mask):
    hidden = masks.mask_scores(scores, mask)
    hidden = hidden - ops.stop_gradient(ops.max(hidden, axis=-1, keepdims=True))
    weights = transform(ops.maximum(hidden, _FLOOR))
    if mask is not None:
        weights = ops.where(ops.cast(mask, "bool"), weights, 0.0)
    return ops.cast(weights, scores.dtype)


# Both find their support from sorted scores, and then tau from the scores in it. So the gradient
# does not pass the sorting, which would be as long as it is useless.


def _sparsemax(scores):
    ordered, counts = _descending(scores)
    fits = 1 + counts * ordered > ops.cumsum(ordered, axis=-1)
    support = _support(scores, ordered, fits)
    size = ops.sum(support, axis=-1, keepdims=True)
    tau = (ops.sum(support * scores, axis=-1, keepdims=True) - 1) / size
    return ops.where(support > 0, scores - tau, 0.0)


def _entmax15(scores):
    halves = scores / 2
    ordered, counts = _descending(halves)
    first = ops.cumsum(ordered, axis=-1) / counts
    second = ops.cumsum(ordered**2, axis=-1) / counts
    room = ops.maximum((1 - counts * (second - first**2)) / counts, 0)
    support = _support(halves, ordered, first - ops.sqrt(room) <= ordered)
    size = ops.sum(support, axis=-1, keepdims=True)
    mean = ops.sum(support * halves, axis=-1, keepdims=True) / size
    spread = ops.sum(support * (halves - mean) ** 2, axis=-1, keepdims=True)
    tau = mean - ops.sqrt((1 - spread) / size)
    return support * (halves - tau) ** 2


def _descending(scores):
    ordered = ops.stop_gradient(ops.flip(ops.sort(scores, axis=-1), axis=-1))
    return ordered, ops.cumsum(ops.ones_like(ordered), axis=-1)


def _support(scores, ordered, fits):
    """1 where a score is among the first that fit, 0 elsewhere."""
    fits = ops.logical_and(fits, ordered > _FLOOR / 2)  # what long sums round is not in question
    lowest = ops.min(ops.where(fits, ordered, 0.0), axis=-1, keepdims=True)
    return ops.stop_gradient(ops.cast(scores >= lowest, scores.dtype))
