"""Attention that reads how much attention each memory position has received so far."""

from typing import Any, final

import keras
from keras import ops

from keras_attention._internal.kernel import add_kernel
from keras_attention._internal.typing import Initializer, Tensor
from keras_attention.attention.history import HistoryAttention


@final
@keras.saving.register_keras_serializable("keras_attention")
class CoverageAttention(HistoryAttention):
    """Additive attention that reads the sum of its past weights, to avoid repetition.

        c^t = sum_{t' < t} a^t'
        e^t_i = v^T tanh(W_h h_i + W_s s_t + w_c c^t_i + b)           (section 2.3)
        a^t = softmax(e^t),  h*_t = sum_i a^t_i h_i                   (section 2.1)

    c^0 is zero. Each step needs the weights of the previous steps, so a call processes its queries
    one by one. Train the layer with `ka.losses.coverage_loss`, the paper's loss.

    Variables: `query_kernel` (Dq, units) is W_s^T and `key_kernel` (Dk, units) is W_h^T.
    `coverage_vector`, `bias` and `score_vector`, all (units,), are w_c, b and v.

    Args:
        units: Size of the hidden layer.
        kernel_initializer: Initializer of the kernels and vectors; the bias starts at zero.
        dropout: Fraction of the attention weights to drop in training. The coverage counts the
            dropped ones too.
        seed: Seed of the dropout.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments, Returns, Masking: see `call`. A masked query does not change the coverage.

    Raises:
        ValueError: If `units` is not a positive integer, or `dropout` is not in [0, 1).

    Example:

    >>> attention = ka.CoverageAttention(13)
    >>> context, weights = attention(
    ...     np.ones((2, 3, 7)), np.ones((2, 5, 11)), return_attention_scores=True
    ... )
    >>> tuple(context.shape), tuple(weights.shape)
    ((2, 3, 11), (2, 3, 5))

    References: See, Liu, Manning 2017, "Get To The Point: Summarization with Pointer-Generator
    Networks", arXiv:1704.04368, section 2. Coverage comes from Tu et al. 2016, "Modeling Coverage
    for Neural Machine Translation", arXiv:1601.04811.
    """

    def __init__(
        self,
        units: int,
        kernel_initializer: Initializer = "glorot_uniform",
        dropout: float = 0.0,
        seed: int | None = None,
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *(units, kernel_initializer, dropout, seed, kernel_regularizer, kernel_constraint),
            **kwargs,
        )

    def _add_history_variables(self) -> None:
        self.coverage_vector = add_kernel(self, "coverage_vector", (self.units,))

    def _history_features(self, state: Tensor) -> Tensor:
        return ops.expand_dims(state, 2) * self._cast(self.coverage_vector)

    def _next_state(self, state: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        return state + weights
