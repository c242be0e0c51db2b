"""Inner products: dot and general (Luong 2015), and scaled dot (Vaswani 2017)."""

from typing import Any, final

import keras
from keras import ops

from keras_attention._internal.kernel import (
    add_kernel,
    kernel_config,
    set_kernel_options,
)
from keras_attention._internal.typing import Config, Initializer, Tensor
from keras_attention._ops.dense import dense
from keras_attention.scores.base import Score


def _inner_product(query: Tensor, keys: Tensor) -> Tensor:
    return ops.einsum("btd,bsd->bts", query, keys)


def validate_equal_dims(score: str, query_dim: int, memory_dim: int) -> None:
    if query_dim != memory_dim:
        raise ValueError(
            f"`query` has width {query_dim}, but the memory has width {memory_dim}; "
            f'{score} expected equal widths. For others use "general" or "additive".'
        )


@final
@keras.saving.register_keras_serializable("keras_attention")
class Dot(Score):
    """The inner product of query and memory.

        score(h_t, m_s) = h_t . m_s                                     (section 3.1, "dot")

    Query and memory must have the same size.

    Raises:
        ValueError: If query and memory differ in size.

    Example:

    >>> score = ka.scores.Dot()
    >>> score.build((2, 3, 7), (2, 5, 7))
    >>> tuple(score(np.ones((2, 3, 7)), score.prepare(np.ones((2, 5, 7)))).shape)
    (2, 3, 5)

    Reference: Luong, Pham, Manning 2015, "Effective Approaches to Attention-based Neural Machine
    Translation", arXiv:1508.04025, section 3.1.
    """

    names = ("dot",)

    def add_variables(self, query_dim: int, memory_dim: int) -> None:
        validate_equal_dims("Dot", query_dim, memory_dim)

    def call(self, query: Tensor, keys: Tensor) -> Tensor:
        return _inner_product(query, keys)


@final
@keras.saving.register_keras_serializable("keras_attention")
class ScaledDot(Score):
    """The inner product of query and memory, divided by the square root of their size.

        score(q_t, k_s) = q_t . k_s / sqrt(D)                           (eq. 1)

    Query and memory must have the same size D. Because of the division, the variance of the scores
    does not grow with D: if the entries are independent with mean 0 and variance 1, the scores have
    variance 1 too.

    Raises:
        ValueError: If query and memory differ in size.

    Example:

    >>> score = ka.scores.ScaledDot()
    >>> score.build((1, 1, 4), (1, 1, 4))
    >>> float(score(np.ones((1, 1, 4)), score.prepare(np.ones((1, 1, 4))))[0, 0, 0])
    2.0

    Reference: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, section 3.2.1.
    """

    names = ("scaled_dot",)

    def add_variables(self, query_dim: int, memory_dim: int) -> None:
        validate_equal_dims("ScaledDot", query_dim, memory_dim)

    def call(self, query: Tensor, keys: Tensor) -> Tensor:
        return _inner_product(query / query.shape[-1] ** 0.5, keys)


@final
@keras.saving.register_keras_serializable("keras_attention")
class General(Score):
    """The inner product of query and memory with a learned matrix between them.

        score(h_t, m_s) = h_t^T W_a m_s                                 (section 3.1, "general")

    The variable `kernel` (Dk, Dq) is W_a^T. The keys are m W_a^T, which is computed once per
    memory.

    Args:
        use_scale: Whether to multiply the scores by a learned number: the variable `scale` (),
            which starts at 1.
        kernel_initializer: Initializer of `kernel`.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Example:

    >>> score = ka.scores.General()
    >>> score.build((2, 3, 7), (2, 5, 11))
    >>> tuple(score.kernel.shape)
    (11, 7)

    Reference: Luong, Pham, Manning 2015, arXiv:1508.04025, section 3.1.
    """

    names = ("general",)

    def __init__(
        self,
        use_scale: bool = False,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.use_scale = use_scale
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)

    def add_variables(self, query_dim: int, memory_dim: int) -> None:
        self.kernel = add_kernel(self, "kernel", (memory_dim, query_dim))
        self.scale = (
            self.add_weight(name="scale", shape=(), initializer="ones") if self.use_scale else None
        )

    def make_keys(self, memory: Tensor) -> Tensor:
        keys = dense(memory, self._cast(self.kernel))  # (B, S, Dq)
        return keys if self.scale is None else keys * self._cast(self.scale)

    def call(self, query: Tensor, keys: Tensor) -> Tensor:
        return _inner_product(query, keys)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "use_scale": self.use_scale,
            **kernel_config(self),
        }
