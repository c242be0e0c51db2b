"""The cosine score: content addressing of the Neural Turing Machine (Graves 2014)."""

from typing import final

import keras
from keras import ops

from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.typing import Tensor
from keras_attention.scores.base import Score
from keras_attention.scores.dot_product import validate_equal_dims


@final
@keras.saving.register_keras_serializable("keras_attention")
class Cosine(Score):
    """The cosine of query and memory, times a strength computed from the query.

        score(k_t, m_s) = beta_t K[k_t, m_s],   K[u, v] = u . v / (|u| |v|)        (eq. 5-6)
        beta_t = softplus(w . k_t + b)

    beta is positive, so a larger cosine never gets a smaller score. A large beta sharpens the
    softmax of the cosines, which lie in [-1, 1]. Query and memory must have the same size. The
    cosine with a vector of zeros is 0.

    Variables: `strength_kernel` (Dq,) is w and `strength_bias` () is b. Both start at 0.

    Raises:
        ValueError: If query and memory differ in size.

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

    names = ("cosine",)

    def add_variables(self, query_dim: int, memory_dim: int) -> None:
        validate_equal_dims("Cosine", query_dim, memory_dim)
        self.strength_kernel = self.add_weight(
            name="strength_kernel", shape=(query_dim,), initializer="zeros"
        )
        self.strength_bias = self.add_weight(name="strength_bias", shape=(), initializer="zeros")

    def make_keys(self, memory: Tensor) -> Tensor:
        return l2_normalize(memory)

    def call(self, query: Tensor, keys: Tensor) -> Tensor:
        strength = ops.sum(query * self._cast(self.strength_kernel), axis=-1, keepdims=True)
        strength = ops.softplus(strength + self._cast(self.strength_bias))  # (B, T, 1)
        return strength * cosine(query, keys)


def cosine(query: Tensor, keys: Tensor) -> Tensor:
    """Returns K[u, v] (eq. 6), (B, T, S), for a query (B, T, D) and normalized keys (B, S, D)."""
    return ops.einsum("btd,bsd->bts", l2_normalize(query), keys)


def l2_normalize(vectors: Tensor) -> Tensor:
    """Returns vectors of length 1; zeros stay zeros."""
    accumulated = ops.cast(vectors, at_least_float32(vectors.dtype))
    squares = ops.sum(ops.square(accumulated), axis=-1, keepdims=True)
    return ops.cast(accumulated * ops.rsqrt(ops.maximum(squares, 1e-12)), vectors.dtype)
