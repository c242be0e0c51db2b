"""Structured self-attention: a matrix for a whole sequence, with one row per hop."""

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
from keras_attention._internal.output_spec import output_spec
from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.typing import Config, Initializer, Shape, Tensor
from keras_attention._ops.dense import dense


def orthogonality_penalty(weights: Tensor) -> Tensor:
    """Returns ||A A^T - I||_F^2, (B,), for `weights` A (B, hops, S), in at least float32.

    The penalty is zero if each hop attends to a single step and no two hops attend to the same one.
    It is also zero for an example whose weights are all zero.
    """
    weights = ops.cast(weights, at_least_float32(weights.dtype))
    overlaps = ops.matmul(weights, ops.transpose(weights, (0, 2, 1)))  # (B, hops, hops)
    difference = overlaps - ops.eye(weights.shape[1], dtype=weights.dtype)
    not_empty = ops.cast(ops.sum(weights, axis=(1, 2)) > 0, weights.dtype)
    return ops.sum(ops.square(difference), axis=(1, 2)) * not_empty


@final
@keras.saving.register_keras_serializable("keras_attention")
class StructuredSelfAttention(keras.layers.Layer):
    """Several weighted means of a sequence, each with its own weights.

        A = softmax(W_s2 tanh(W_s1 H^T))
        M = A H
        P = ||A A^T - I||_F^2                                                    (section 2)

    The penalty P keeps hops from attending to the same steps. Its mean over the batch, times
    `penalty`, is added to the loss of the model.

    Variables: `kernel` (D, units) is W_s1^T and `hop_kernel` (units, hops) is W_s2^T.

    Args:
        units: Size of the hidden layer, the paper's d_a.
        hops: Number of weighted means, the paper's r.
        penalty: Factor of P in the loss. With 0, no loss is added.
        kernel_initializer: Initializer of the kernels.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments:
        inputs: (B, S, D), the paper's H.
        mask: (B, S).
        return_attention_scores: Whether to return the weights too.

    Returns:
        M (B, hops, D); with `return_attention_scores` also A (B, hops, S).

    Masking: True means "may be attended to". For a fully masked example, A, M and P are zero. No
    mask is passed on, since the output has no time axis.

    Raises:
        ValueError: If an argument is out of its range, or an input has an unexpected shape.

    Example:

    >>> attention = ka.StructuredSelfAttention(units=13, hops=3, penalty=0.5)
    >>> tuple(attention(np.ones((2, 5, 7))).shape)
    (2, 3, 7)
    >>> len(attention.losses)
    1

    Reference: Lin et al. 2017, "A Structured Self-attentive Sentence Embedding", arXiv:1703.03130,
    section 2.
    """

    def __init__(
        self,
        units: int,
        hops: int,
        penalty: float = 0.0,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = validation.positive_integer("units", units)
        self.hops = validation.positive_integer("hops", hops)
        self.penalty = validation.not_negative("penalty", penalty)
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)
        self.supports_masking = True

    def build(self, inputs_shape: Shape) -> None:
        validation.rank("inputs", inputs_shape, "(batch, steps, width)")

        self.kernel = add_kernel(self, "kernel", (inputs_shape[-1], self.units))
        self.hop_kernel = add_kernel(self, "hop_kernel", (self.units, self.hops))

    def call(
        self, inputs: Tensor, mask: Tensor = None, return_attention_scores: bool = False
    ) -> Tensor:
        validation.rank("inputs", inputs.shape, "(batch, steps, width)")
        mask = validation.mask("mask", mask, inputs.shape[:2], "(batch, steps)")
        hidden = ops.tanh(dense(inputs, self.kernel))
        scores = ops.transpose(dense(hidden, self.hop_kernel), (0, 2, 1))  # (B, hops, S)
        mask = None if mask is None else ops.expand_dims(mask, 1)
        weights = masks.masked_softmax(scores, mask)  # (B, hops, S)
        if self.penalty:
            self.add_loss(self.penalty * ops.mean(orthogonality_penalty(weights)))
        means = ops.matmul(weights, inputs)  # (B, hops, D)
        return (means, weights) if return_attention_scores else means

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor = None) -> None:
        return None

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        validation.rank("inputs", inputs_shape, "(batch, steps, width)")
        return (inputs_shape[0], self.hops, inputs_shape[2])

    def compute_output_spec(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        shape = self.compute_output_shape(inputs.shape)
        weights_shape = (*shape[:2], inputs.shape[1])
        return output_spec(self, shape, weights_shape, inputs, *args, **kwargs)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "units": self.units,
            "hops": self.hops,
            "penalty": self.penalty,
            **kernel_config(self),
        }
