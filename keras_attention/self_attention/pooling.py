"""Attention pooling: one vector for a whole sequence."""

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
from keras_attention._internal.typing import Config, Initializer, Shape, Tensor
from keras_attention._ops.dense import dense


@final
@keras.saving.register_keras_serializable("keras_attention")
class AttentionPooling(keras.layers.Layer):
    """The mean of a sequence, weighted by learned attention weights.

        u_s = tanh(W h_s + b)
        a = softmax(u . u_w)
        c = sum_s a_s h_s                                         ("word attention")

    Variables: `kernel` (D, units) is W^T, `bias` (units,) is b, and `context_vector` (units,) is
    u_w, a learned query that is the same for all sequences.

    Args:
        units: Size of the hidden layer.
        kernel_initializer: Initializer of `kernel` and `context_vector`.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments:
        inputs: (B, S, D).
        mask: (B, S).
        return_attention_scores: Whether to return the weights too.

    Returns:
        The context (B, D); with `return_attention_scores` also the weights (B, S).

    Masking: True means "may be attended to". For a fully masked sequence the weights and the
    context are zero. No mask is passed on, since the output has no time axis.

    Raises:
        ValueError: If an argument is out of its range, or an input has an unexpected shape.

    Example:

    >>> pooling = ka.AttentionPooling(13)
    >>> tuple(pooling(np.ones((2, 5, 7))).shape)
    (2, 7)

    Reference: Yang et al. 2016, "Hierarchical Attention Networks for Document Classification",
    NAACL, "word attention".
    """

    def __init__(
        self,
        units: int,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = validation.positive_integer("units", units)
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)
        self.supports_masking = True

    def build(self, inputs_shape: Shape) -> None:
        validation.rank("inputs", inputs_shape, "(batch, steps, width)")

        self.kernel = add_kernel(self, "kernel", (inputs_shape[-1], self.units))
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.context_vector = add_kernel(self, "context_vector", (self.units,))

    def call(
        self, inputs: Tensor, mask: Tensor = None, return_attention_scores: bool = False
    ) -> Tensor:
        validation.rank("inputs", inputs.shape, "(batch, steps, width)")
        mask = validation.mask("mask", mask, inputs.shape[:2], "(batch, steps)")
        hidden = ops.tanh(dense(inputs, self.kernel) + self.bias)  # (B, S, U)
        scores = ops.einsum("bsu,u->bs", hidden, self.context_vector)
        weights = masks.masked_softmax(scores, mask)
        context = ops.einsum("bs,bsd->bd", weights, inputs)
        return (context, weights) if return_attention_scores else context

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor = None) -> None:
        return None

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        validation.rank("inputs", inputs_shape, "(batch, steps, width)")
        return (inputs_shape[0], inputs_shape[2])

    def compute_output_spec(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        shape = self.compute_output_shape(inputs.shape)
        return output_spec(self, shape, inputs.shape[:2], inputs, *args, **kwargs)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "units": self.units,
            **kernel_config(self),
        }
