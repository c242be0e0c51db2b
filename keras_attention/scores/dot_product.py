"""Content scores that are inner products: Luong's dot and general, Vaswani's scaled dot."""

from typing import final

import keras
from keras import ops

from keras_attention._ops.dense import dense
from keras_attention.scores.base import Score


def _inner_product(query, keys):
    return ops.einsum("btd,bsd->bts", query, keys)


def validate_equal_dims(score, query_width, memory_width):
    if query_width != memory_width:
        raise ValueError(
            f"`query` has width {query_width}, but the memory has width {memory_width}; "
            f'{score} expected equal widths. For others use "general" or "additive".'
        )


@final
@keras.saving.register_keras_serializable("keras_attention")
class Dot(Score):
    """The inner product of query and memory.

        score(h_t, m_s) = h_t . m_s                                     (section 3.1, "dot")

    Query and memory have the same width.

    Example:

    >>> score = ka.scores.Dot()
    >>> score.build((2, 3, 7), (2, 5, 7))
    >>> tuple(score(np.ones((2, 3, 7)), score.prepare(np.ones((2, 5, 7)))).shape)
    (2, 3, 5)

    Reference: Luong, Pham, Manning 2015, "Effective Approaches to Attention-based Neural Machine
    Translation", arXiv:1508.04025.
    """

    def add_variables(self, query_width, memory_width):
        validate_equal_dims("Dot", query_width, memory_width)

    def make_keys(self, memory):
        return memory

    def call(self, query, keys):
        return _inner_product(query, keys)


@final
@keras.saving.register_keras_serializable("keras_attention")
class ScaledDot(Score):
    """The inner product over the square root of the width.

        score(q_t, k_s) = q_t . k_s / sqrt(D)                           (eq. 1)

    Query and memory have the same width D. The division keeps the variance of the scores at that
    of the entries, whatever D.

    Example:

    >>> score = ka.scores.ScaledDot()
    >>> score.build((1, 1, 4), (1, 1, 4))
    >>> float(score(np.ones((1, 1, 4)), score.prepare(np.ones((1, 1, 4))))[0, 0, 0])
    2.0

    Reference: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762.
    """

    def add_variables(self, query_width, memory_width):
        validate_equal_dims("ScaledDot", query_width, memory_width)

    def make_keys(self, memory):
        return memory

    def call(self, query, keys):
        return _inner_product(query / query.shape[-1] ** 0.5, keys)


@final
@keras.saving.register_keras_serializable("keras_attention")
class General(Score):
    """The inner product through a learned matrix.

        score(h_t, m_s) = h_t^T W_a m_s                                 (section 3.1, "general")

    W_a^T is the weight `kernel` (Dk, Dq), and the keys are m W_a^T, projected once per memory.

    Args:
        use_scale: Whether to multiply the scores by one learned number, the weight `scale`, which
            starts at 1.
        kernel_initializer: Initializer of `kernel`.

    Example:

    >>> score = ka.scores.General()
    >>> score.build((2, 3, 7), (2, 5, 11))
    >>> tuple(score.kernel.shape)
    (11, 7)

    Reference: Luong, Pham, Manning 2015, arXiv:1508.04025.
    """

    def __init__(self, use_scale=False, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.use_scale = use_scale
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def add_variables(self, query_width, memory_width):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(memory_width, query_width),
            initializer=self.kernel_initializer,
        )
        self.scale = (
            self.add_weight(name="scale", shape=(), initializer="ones") if self.use_scale else None
        )

    def make_keys(self, memory):
        keys = dense(memory, self._cast(self.kernel))  # (B, S, Dq)
        return keys if self.scale is None else keys * self._cast(self.scale)

    def call(self, query, keys):
        return _inner_product(query, keys)

    def get_config(self):
        return {
            **super().get_config(),
            "use_scale": self.use_scale,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
