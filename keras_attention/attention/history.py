"""Additive attention that reads its own past weights."""

import abc
from typing import Any

from keras import ops

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention._internal.kernel import (
    add_kernel,
    kernel_config,
    set_kernel_options,
)
from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.typing import Config, Initializer, Shape, Tensor
from keras_attention._ops.dense import dense
from keras_attention.attention.base import weighted_sum
from keras_attention.attention.sequence import SequenceAttention


class HistoryAttention(SequenceAttention, abc.ABC):
    """Abstract: an additive score of query, key and the features of past weights.

        e_ts = v^T tanh(W q_t + U k_s + f(a_1, ..., a_{t-1})_s + b),   a_t = softmax(e_t)

    The state (B, S) is what f reads from the past weights, such as their sum.
    """

    sequential = True

    def __init__(
        self,
        units: int,
        kernel_initializer: Initializer,
        dropout: float,
        seed: int | None,
        kernel_regularizer: Any,
        kernel_constraint: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(dropout, seed, **kwargs)
        self.units = validation.positive_integer("units", units)
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)

    @abc.abstractmethod
    def _add_history_variables(self) -> None:
        """Adds the variables of f."""

    @abc.abstractmethod
    def _history_features(self, state: Tensor) -> Tensor:
        """Returns f (B, S, U) of the state (B, S), in the compute dtype."""

    @abc.abstractmethod
    def _next_state(self, state: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        """Returns the state after the weights (B, S), of a step with `mask` (B, 1, S) or None."""

    def build_projections(self, query_shape: Shape, value_shape: Shape, key_shape: Shape) -> None:
        self.query_kernel = add_kernel(self, "query_kernel", (query_shape[-1], self.units))
        self.key_kernel = add_kernel(self, "key_kernel", (key_shape[-1], self.units))
        self._add_history_variables()
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.score_vector = add_kernel(self, "score_vector", (self.units,))

    def make_keys(self, key: Tensor) -> Tensor:
        return dense(key, self._cast(self.key_kernel)) + self._cast(self.bias)  # (B, S, U)

    def initial_state(self, memory: dict[str, Tensor]) -> Tensor:
        # Sums of many small weights: bfloat16 would stop counting at 1.
        dtype = at_least_float32(self.compute_dtype)
        return ops.zeros(ops.shape(memory["value"])[:2], dtype=dtype)  # (B, S)

    def attend(
        self, query: Tensor, memory: dict, state: Tensor, noise: dict, mask: Tensor = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        if query.shape[1] not in (1, None):
            raise ValueError(
                f"`query` has shape {tuple(query.shape)}; {type(self).__name__}.attend expected "
                "one step, (batch, 1, width). Call the layer or a decoder for many steps."
            )
        mask = masks.combine(value_mask=memory.get("mask"), attention_mask=mask)
        query = dense(query, self._cast(self.query_kernel))  # (B, 1, U)
        features = self._history_features(self._cast(state))  # (B, S, U)
        hidden = ops.tanh(memory["keys"] + query + features)
        scores = ops.einsum("bsu,u->bs", hidden, self._cast(self.score_vector))
        weights = masks.masked_softmax(ops.expand_dims(scores, 1), mask)  # (B, 1, S)
        state = self._next_state(state, ops.cast(ops.squeeze(weights, 1), state.dtype), mask)
        return weighted_sum(weights, memory, noise), weights, state

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "units": self.units,
            **kernel_config(self),
        }

    def _cast(self, tensor: Tensor) -> Tensor:
        return ops.cast(tensor, self.compute_dtype)
