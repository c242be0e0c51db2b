"""The location score (Luong 2015), a function of the query alone."""

from typing import Any, final

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.kernel import (
    add_kernel,
    kernel_config,
    set_kernel_options,
)
from keras_attention._internal.typing import Config, Initializer, Tensor
from keras_attention._ops.dense import dense
from keras_attention.scores.base import Score


@final
@keras.saving.register_keras_serializable("keras_attention")
class Location(Score):
    """A score for each position, which does not depend on the content of the memory.

        score(h_t, m_s) = (W_a h_t)_s                                   (eq. 8, "location")

    The variable `kernel` (Dq, max_length) is W_a^T, with one column per position. A memory of S
    positions uses the first S columns.

    Args:
        max_length: Length of the longest memory.
        kernel_initializer: Initializer of `kernel`.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Raises:
        ValueError: If `max_length` is not a positive integer, or a memory is longer than
            `max_length`. If the length is unknown until the graph runs, the backend raises its own
            error about shapes instead.

    Example:

    >>> score = ka.scores.Location(max_length=11)
    >>> score.build((2, 3, 7), (2, 5, 13))
    >>> tuple(score(np.ones((2, 3, 7)), score.prepare(np.ones((2, 5, 13)))).shape)
    (2, 3, 5)

    Reference: Luong, Pham, Manning 2015, "Effective Approaches to Attention-based Neural Machine
    Translation", arXiv:1508.04025, section 3.1.
    """

    def __init__(
        self,
        max_length: int,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_length = validation.positive_integer("max_length", max_length)
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)

    def add_variables(self, query_dim: int, memory_dim: int) -> None:
        self.kernel = add_kernel(self, "kernel", (query_dim, self.max_length))

    def make_keys(self, memory: Tensor) -> Tensor:
        if memory.shape[1] is not None and memory.shape[1] > self.max_length:
            raise ValueError(
                f"The memory has length {memory.shape[1]}; "
                f"expected at most `max_length`, {self.max_length}."
            )
        return memory[:, :, :1]  # Only their number matters.

    def call(self, query: Tensor, keys: Tensor) -> Tensor:
        scores = dense(query, self._cast(self.kernel))  # (B, T, max_length)
        return scores[:, :, : ops.shape(keys)[1]]

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "max_length": self.max_length,
            **kernel_config(self),
        }
