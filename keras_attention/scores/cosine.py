"""The cosine score: content addressing of the Neural Turing Machine."""

from typing import final

import keras
from keras import ops

from keras_attention.scores.base import Score
from keras_attention.scores.dot_product import validate_equal_dims


@final
@keras.saving.register_keras_serializable("keras_attention")
class Cosine(Score):
    """The cosine of query and memory, times a strength that the query decides.

        score(k_t, m_s) = beta_t K[k_t, m_s],   K[u, v] = u . v / (|u| |v|)        (eq. 5-6)
        beta_t = softplus(w . k_t + b)

    beta is above 0, so that what is more alike never scores less; it sharpens what the cosine,
    which stays in [-1, 1], leaves nearly even. Query and memory have the same width. The cosine
    with a vector of zeros is 0.

    Weights: `strength_kernel` (Dq,) and `strength_bias` (), which start at 0.

    Example:

    >>> score = ka.scores.Cosine()
    >>> score.build((1, 1, 2), (1, 2, 2))
    >>> keys = score.prepare(np.array([[[3.0, 0.0], [0.0, 5.0]]]))
    >>> scores = score(np.array([[[1.0, 0.0]]]), keys)
    >>> np.array(scores, float)[0, 0].round(4).tolist()  # the strength is log 2 at first
    [0.6931, 0.0]

    Reference: Graves, Wayne, Danihelka 2014, "Neural Turing Machines", arXiv:1410.5401,
    section 3.3.1.
    """

    def add_variables(self, query_width, memory_width):
        validate_equal_dims("Cosine", query_width, memory_width)
        self.strength_kernel = self.add_weight(
            name="strength_kernel", shape=(query_width,), initializer="zeros"
        )
        self.strength_bias = self.add_weight(name="strength_bias", shape=(), initializer="zeros")

    def make_keys(self, memory):
        return unit(memory)

    def call(self, query, keys):
        strength = ops.sum(query * self._cast(self.strength_kernel), axis=-1, keepdims=True)
        strength = ops.softplus(strength + self._cast(self.strength_bias))  # (B, T, 1)
        return strength * cosine(query, keys)


def cosine(query, keys):
    """K[u, v] (eq. 6), (B, T, S), of a query (B, T, D) and keys (B, S, D) made by `unit`."""
    return ops.einsum("btd,bsd->bts", unit(query), keys)


def unit(vectors):
    """Vectors of length 1; those of zeros stay as they are."""
    wide = ops.cast(vectors, keras.backend.result_type(vectors.dtype, "float32"))
    squares = ops.sum(ops.square(wide), axis=-1, keepdims=True)
    return ops.cast(wide * ops.rsqrt(ops.maximum(squares, 1e-12)), vectors.dtype)
