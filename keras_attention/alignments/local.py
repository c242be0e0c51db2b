"""Local alignments (Luong 2015): a window around the step's own position or a predicted one."""

from typing import Any, final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention._internal.kernel import (
    add_kernel,
    kernel_config,
    set_kernel_options,
)
from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.typing import Config, Initializer, Tensor
from keras_attention._ops.dense import dense
from keras_attention.alignments.base import Alignment


@final
@keras.saving.register_keras_serializable("keras_attention")
class LocalMonotonic(Alignment):
    """A softmax over a window that moves by one position per step: "local-m".

        p_t = t                                                         (section 3.2)
        a_t = softmax over s in [p_t - D, p_t + D]

    Positions and steps count from 0. If a window lies past the end of the memory, it is empty and
    its weights are zero. A step that is masked or has nothing to attend to is not counted.

    Args:
        window: The number of positions on each side, D, at least 0.

    Masking: the softmax runs over the allowed positions in the window. A row that allows none gets
    zero weights.

    Raises:
        ValueError: If `window` is negative.

    Example:

    >>> weights, _ = ka.alignments.LocalMonotonic(window=1)(np.zeros((1, 3, 4)))
    >>> np.array(weights, float)[0].round(2).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.33, 0.33, 0.33, 0.0], [0.0, 0.33, 0.33, 0.33]]

    Reference: Luong, Pham, Manning 2015, "Effective Approaches to Attention-based Neural Machine
    Translation", arXiv:1508.04025, section 3.2.
    """

    def __init__(self, window: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window = validation.not_negative("window", window)

    def call(
        self,
        scores: Tensor,
        mask: Tensor = None,
        query: Tensor = None,
        state: Any = (),
        noise: Any = (),
    ) -> tuple[Tensor, Any]:
        first = state[0] if len(state) else ops.zeros((1, 1), "int32")  # (B, 1)
        allowed = _and(mask, ops.ones_like(scores, "bool"))
        steps = ops.cast(ops.any(allowed, axis=-1), "int32")  # (B, T), 1 where there is a step
        step_index = ops.cumsum(steps, axis=1)  # from 1
        positions = ops.expand_dims(ops.cast(first + step_index - 1, "float32"), -1)  # (B, T, 1)
        in_window = _in_window(positions, ops.shape(scores)[2], self.window)
        weights = masks.masked_softmax(scores, _and(mask, in_window))
        return weights, tuple(part + step_index[:, -1:] for part in state)

    def initial_state(self, value: Tensor) -> tuple[Tensor]:
        # Integers, as Keras casts floats to the compute dtype, and bfloat16 counts to 256 only.
        return (ops.zeros((ops.shape(value)[0], 1), "int32"),)

    def get_config(self) -> Config:
        return {**super().get_config(), "window": self.window}


@final
@keras.saving.register_keras_serializable("keras_attention")
class LocalPredictive(Alignment):
    """A softmax over a window around a predicted position, times a Gaussian: "local-p".

        p_t = S sigmoid(v_p^T tanh(W_p h_t))                                (eq. 9)
        a_ts = softmax_s(score(h_t, m_s)) exp(-(s - p_t)^2 / (2 sigma^2))   (eq. 10)
        sigma = D / 2

    The softmax runs over s in [p_t - D, p_t + D]. Because of the Gaussian, the weights sum to less
    than 1. S is the true length of the memory: the last position that may be attended to, plus 1.

    Variables: `position_kernel` (Dq, units) is W_p^T and `position_vector` (units,) is v_p.

    Args:
        units: Size of the hidden layer.
        window: The number of positions on each side, D, above 0.
        kernel_initializer: Initializer of both variables.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Masking: the softmax runs over the allowed positions in the window, and S is the last allowed
    position of the memory, plus 1. A row that allows none gets zero weights.

    Raises:
        ValueError: If `units` is not a positive integer, `window` is not above 0, or the alignment
            is built or called without a query.

    Example:

    >>> attention = ka.LuongAttention("dot", ka.alignments.LocalPredictive(units=5, window=2))
    >>> tuple(attention(np.ones((2, 3, 7)), np.ones((2, 11, 7))).shape)
    (2, 3, 7)

    Reference: Luong, Pham, Manning 2015, arXiv:1508.04025, section 3.2.
    """

    def __init__(
        self,
        units: int,
        window: float,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = validation.positive_integer("units", units)
        self.window = validation.positive("window", window)
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)

    def add_variables(self, query_dim: int | None) -> None:
        if query_dim is None:
            raise ValueError(_NO_QUERY)
        self.position_kernel = add_kernel(self, "position_kernel", (query_dim, self.units))
        self.position_vector = add_kernel(self, "position_vector", (self.units,))

    def call(
        self,
        scores: Tensor,
        mask: Tensor = None,
        query: Tensor = None,
        state: Any = (),
        noise: Any = (),
    ) -> tuple[Tensor, Any]:
        if query is None:
            raise ValueError(_NO_QUERY)
        length = ops.shape(scores)[2]
        positions = self._positions(query, _true_length(mask, length))  # (B, T, 1)
        in_window = _in_window(positions, length, self.window)
        weights = masks.masked_softmax(scores, _and(mask, in_window))
        distance = ops.subtract(_float_range(length), positions) / (self.window / 2)  # in sigmas
        gaussian = ops.exp(-ops.square(distance) / 2)
        return weights * ops.cast(gaussian, weights.dtype), state

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "units": self.units,
            "window": self.window,
            **kernel_config(self),
        }

    def _positions(self, query: Tensor, length: Tensor) -> Tensor:
        kernel = ops.cast(self.position_kernel, self.compute_dtype)
        hidden = ops.tanh(dense(query, kernel))  # (B, T, U)
        # At least float32 from here: bfloat16 can tell 107 of 1,000 positions apart.
        hidden = ops.cast(hidden, at_least_float32(hidden.dtype))
        vector = ops.cast(self.position_vector, hidden.dtype)
        relative_position = ops.sigmoid(ops.sum(hidden * vector, axis=-1, keepdims=True))
        return relative_position * ops.cast(length, relative_position.dtype)  # (B, T, 1)


_NO_QUERY = (
    "`query` is missing; expected (batch, queries, width), which LocalPredictive predicts its "
    "positions from."
)


def _float_range(length: Any) -> Tensor:
    return ops.cast(ops.arange(length, dtype="int32"), "float32")


def _in_window(positions: Tensor, length: Any, window: float) -> Tensor:
    """Returns (B, T, S): whether s is at most `window` from a position (B, T, 1)."""
    return ops.abs(ops.subtract(_float_range(length), positions)) <= window


def _and(mask: Tensor, other: Tensor) -> Tensor:
    return other if mask is None else ops.logical_and(ops.cast(mask, "bool"), other)


def _true_length(mask: Tensor, length: Any) -> Tensor:
    """Returns the last position that `mask` allows, plus 1, broadcastable to (B, T, 1)."""
    if mask is None:
        return length
    ends = ops.where(ops.cast(mask, "bool"), _float_range(length) + 1, 0.0)
    return ops.max(ends, axis=-1, keepdims=True, initial=0.0)
