"""Gaussian mixture attention: a soft window that moves along the memory (Graves 2013)."""

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
from keras_attention._internal.serialization import clone_initializer
from keras_attention._internal.typing import Config, Initializer, Shape, Tensor
from keras_attention._ops.dense import dense
from keras_attention.attention.base import weighted_sum
from keras_attention.attention.sequence import SequenceAttention

# The exponents a, b and k are clipped to these, so that no infinity meets a zero. In float16 the
# contexts, of weights that do not sum to 1, overflow less early with the lower one.
MAX_EXPONENT, MAX_EXPONENT_FLOAT16 = 30.0, 5.0


@final
@keras.saving.register_keras_serializable("keras_attention")
class GaussianMixtureAttention(SequenceAttention):
    """A mixture of K Gaussians over the positions, whose centers only move forward.

        (a_t, b_t, k_t) = W q_t + b                                             (eq. 48)
        alpha_t = exp(a_t),  beta_t = exp(b_t)                                  (eq. 49-50)
        kappa_t = kappa_{t-1} + exp(k_t)                                        (eq. 51)
        phi(t, u) = sum_k alpha_tk exp(-beta_tk (kappa_tk - u)^2)               (eq. 46)
        w_t = sum_u phi(t, u) c_u                                               (eq. 47)

    for positions u = 1 to S, with kappa_0 = 0. The query determines the height alpha, the precision
    beta and the step exp(k) of each Gaussian. The content c_u of the memory does not affect the
    weights phi, which do not sum to 1.

    Memory: on the order of (B, T, S, K) for T queries in one call, and of (B, S, K) per step.

    Variables: `kernel` (Dq, 3 K) and `bias` (3 K,).

    Args:
        num_components: The number of Gaussians, K.
        kernel_initializer: Initializer of `kernel`.
        bias_initializer: Initializer of `bias`. With zeros, an untrained layer moves its centers by
            about one position per step.
        dropout: Fraction of the attention weights to drop in training.
        seed: Seed of the dropout.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments, Returns, Masking: see `call`. `key` has no effect. A masked query does not move
    the centers. Masked positions are counted: the positions after them keep their numbers u.

    Raises:
        ValueError: If `num_components` is not a positive integer, or `dropout` is not in [0, 1).

    Example:

    >>> attention = ka.GaussianMixtureAttention(num_components=3)
    >>> context, weights = attention(
    ...     np.ones((2, 3, 7)), np.ones((2, 5, 11)), return_attention_scores=True
    ... )
    >>> tuple(context.shape), tuple(weights.shape)
    ((2, 3, 11), (2, 3, 5))

    Reference: Graves 2013, "Generating Sequences With Recurrent Neural Networks", arXiv:1308.0850,
    section 5.1.
    """

    def __init__(
        self,
        num_components: int = 10,
        kernel_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        dropout: float = 0.0,
        seed: int | None = None,
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dropout, seed, **kwargs)
        self.num_components = validation.positive_integer("num_components", num_components)
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build_projections(self, query_shape: Shape, value_shape: Shape, key_shape: Shape) -> None:
        size = 3 * self.num_components
        self.kernel = add_kernel(self, "kernel", (query_shape[-1], size))
        initializer = clone_initializer(self.bias_initializer)
        self.bias = self.add_weight(name="bias", shape=(size,), initializer=initializer)

    def initial_state(self, memory: dict[str, Tensor]) -> Tensor:
        # Half precision cannot tell the positions of long memories apart.
        dtype = at_least_float32(self.compute_dtype)
        return ops.zeros((ops.shape(memory["value"])[0], self.num_components), dtype=dtype)

    def attend(
        self, query: Tensor, memory: dict, state: Tensor, noise: dict, mask: Tensor = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        mask = masks.combine(value_mask=memory.get("mask"), attention_mask=mask)
        exponents = dense(query, ops.cast(self.kernel, self.compute_dtype))  # (B, T, 3 K)
        exponents = ops.cast(exponents, state.dtype) + ops.cast(self.bias, state.dtype)
        limit = MAX_EXPONENT_FLOAT16 if self.compute_dtype == "float16" else MAX_EXPONENT
        exponents = ops.clip(exponents, -limit, limit)
        alpha, beta, step = ops.split(ops.exp(exponents), 3, axis=-1)  # (B, T, K)
        if mask is not None:  # A query with nothing to attend to does not move the centers.
            step = ops.where(ops.any(mask, axis=-1, keepdims=True), step, 0)
        kappa = ops.expand_dims(state, 1) + ops.cumsum(step, axis=1)
        positions = ops.arange(1, ops.shape(memory["value"])[1] + 1, dtype="int32")
        distances = ops.expand_dims(kappa, 3) - ops.cast(positions, state.dtype)  # (B, T, K, S)
        gaussians = ops.exp(-ops.expand_dims(beta, 3) * ops.square(distances))
        weights = ops.sum(ops.expand_dims(alpha, 3) * gaussians, axis=2)
        weights = ops.cast(weights if mask is None else ops.where(mask, weights, 0), query.dtype)
        return weighted_sum(weights, memory, noise), weights, state + ops.sum(step, axis=1)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "num_components": self.num_components,
            **kernel_config(self),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }
