"""The additive score (Bahdanau 2015), which Luong calls concat."""

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
from keras_attention._ops.additive_scores import additive_scores
from keras_attention._ops.dense import dense
from keras_attention.scores.base import Score


@final
@keras.saving.register_keras_serializable("keras_attention")
class Additive(Score):
    """A network with one hidden layer over query and memory. Luong's "concat" is the same function.

        score(s_t, m_s) = v^T tanh(W s_t + U m_s)                       (appendix A.1.2)

    `normalize` adds weight normalization and a bias:

        score(s_t, m_s) = g (v / |v|)^T tanh(W s_t + U m_s + b)

    Variables: `query_kernel` (Dq, units) is W^T, `key_kernel` (Dk, units) is U^T and `score_vector`
    (units,) is v. `normalize` adds `gain` (), g, and `bias` (units,), b. The keys are U m_s, and
    with `normalize` U m_s + b. They are computed once per memory.

    Memory: on the order of the scores (B, T, S) and of the projections, forward and backward,
    whatever `units` is. The hidden layer of all pairs, (B, T, S, units), is stored only if it is
    small. Otherwise it is recomputed for the gradients.

    Args:
        units: Size of the hidden layer. Defaults to the size of the query.
        normalize: Whether to use weight normalization.
        kernel_initializer: Initializer of the kernels and of `score_vector`.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Raises:
        ValueError: If `units` is neither None nor a positive integer.

    Example:

    >>> score = ka.scores.Additive(13)
    >>> score.build((2, 3, 7), (2, 5, 11))
    >>> [tuple(weight.shape) for weight in score.weights]
    [(7, 13), (11, 13), (13,)]

    References: Bahdanau, Cho, Bengio 2015, "Neural Machine Translation by Jointly Learning to Align
    and Translate", arXiv:1409.0473, appendix A.1.2; Salimans, Kingma 2016, "Weight Normalization",
    arXiv:1602.07868.
    """

    names = ("additive", "concat")

    def __init__(
        self,
        units: int | None = None,
        normalize: bool = False,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = None if units is None else validation.positive_integer("units", units)
        self.normalize = normalize
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)

    def add_variables(self, query_dim: int, memory_dim: int) -> None:
        units = self.units or query_dim
        self.query_kernel = add_kernel(self, "query_kernel", (query_dim, units))
        self.key_kernel = add_kernel(self, "key_kernel", (memory_dim, units))
        self.score_vector = add_kernel(self, "score_vector", (units,))
        if self.normalize:
            self.gain = self.add_weight(
                name="gain", shape=(), initializer=keras.initializers.Constant(units**-0.5)
            )
            self.bias = self.add_weight(name="bias", shape=(units,), initializer="zeros")

    def make_keys(self, memory: Tensor) -> Tensor:
        keys = dense(memory, ops.cast(self.key_kernel, self.compute_dtype))  # (B, S, U)
        return keys + ops.cast(self.bias, self.compute_dtype) if self.normalize else keys

    def call(self, query: Tensor, keys: Tensor) -> Tensor:
        query_kernel = ops.cast(self.query_kernel, self.compute_dtype)
        score_vector = ops.convert_to_tensor(self.score_vector)
        if self.normalize:
            norm = ops.sqrt(ops.maximum(ops.sum(ops.square(score_vector)), 1e-12))
            score_vector = self.gain * score_vector / norm
        score_vector = ops.cast(score_vector, self.compute_dtype)
        return additive_scores(dense(query, query_kernel), keys, score_vector)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "units": self.units,
            "normalize": self.normalize,
            **kernel_config(self),
        }
