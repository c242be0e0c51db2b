"""SNAIL's attention to the past steps of a sequence."""

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
from keras_attention._internal.sublayers import SavedSublayers
from keras_attention._internal.typing import Config, Initializer, Shape, Tensor
from keras_attention._ops.dense import dense
from keras_attention._ops.dot_product_attention import dot_product_attention


@final
@keras.saving.register_keras_serializable("keras_attention")
class SnailAttentionBlock(SavedSublayers):
    """SNAIL's attention block: causal attention, concatenated to its inputs.

        read = softmax(Q K^T / sqrt(key_dim)) V       where step t attends to steps up to t
        outputs = [x; read]                           (section 3, "AttentionBlock")

    Here Q = x W_q + b_q, K = x W_k and V = x W_v + b_v. Their variables are `query_kernel`
    (D, key_dim), `query_bias` (key_dim,), `key_kernel` (D, key_dim), `value_kernel` (D, value_dim)
    and `value_bias` (value_dim,). The bias of the keys, which the paper's "affine" includes, is
    left out: it would add the same number to all scores of a query, which does not change their
    softmax.

    Args:
        key_dim: Size of queries and keys, the paper's K.
        value_dim: Size of the values, and so of `read`; the paper's V.
        kernel_initializer: Initializer of the kernels.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments:
        inputs: (B, T, D).
        mask: (B, T).
        return_attention_scores: Whether to return the weights too. The outputs stay the same.

    Returns:
        The outputs (B, T, D + value_dim); with `return_attention_scores` also the weights
        (B, T, T), which are zero above the diagonal.

    Masking: True means "may be attended to". The outputs and weights of a masked step are zero. The
    mask is passed on.

    Memory: linear in T, unless weights (B, T, T) are held: those that are returned, and few. See
    `_ops/holds_weights.py`.

    Raises:
        ValueError: If an argument is out of its range, or an input has an unexpected shape.

    Example:

    >>> block = ka.SnailAttentionBlock(key_dim=5, value_dim=3)
    >>> outputs, weights = block(np.ones((2, 4, 7)), return_attention_scores=True)
    >>> tuple(outputs.shape), tuple(weights.shape)
    ((2, 4, 10), (2, 4, 4))

    Reference: Mishra, Rohaninejad, Chen, Abbeel 2018, "A Simple Neural Attentive Meta-Learner",
    arXiv:1707.03141, section 3.
    """

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.key_dim = validation.positive_integer("key_dim", key_dim)
        self.value_dim = validation.positive_integer("value_dim", value_dim)
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)
        self.supports_masking = True

    def build(self, inputs_shape: Shape) -> None:
        validation.sequence("inputs", inputs_shape)
        dim = inputs_shape[2]
        self.query_kernel = add_kernel(self, "query_kernel", (dim, self.key_dim))
        self.query_bias = self.add_weight((self.key_dim,), "zeros", name="query_bias")
        self.key_kernel = add_kernel(self, "key_kernel", (dim, self.key_dim))
        self.value_kernel = add_kernel(self, "value_kernel", (dim, self.value_dim))
        self.value_bias = self.add_weight((self.value_dim,), "zeros", name="value_bias")

    def call(
        self, inputs: Tensor, mask: Tensor = None, return_attention_scores: bool = False
    ) -> Tensor:
        validation.sequence("inputs", inputs.shape)
        mask = validation.mask("mask", mask, inputs.shape[:2], "(batch, steps)")
        inputs = masks.zero_masked(inputs, mask)
        query = self._affine(inputs, self.query_kernel, self.query_bias)  # (B, 1, T, key_dim)
        key = self._affine(inputs, self.key_kernel)
        value = self._affine(inputs, self.value_kernel, self.value_bias)  # (B, 1, T, value_dim)
        context, weights = dot_product_attention(
            query, key, value, mask, mask, causal=True, return_weights=return_attention_scores
        )
        outputs = ops.concatenate([inputs, context[:, 0]], axis=-1)
        return (outputs, weights[:, 0]) if return_attention_scores else outputs

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        validation.sequence("inputs", inputs_shape)
        return (*inputs_shape[:2], inputs_shape[2] + self.value_dim)

    def compute_output_spec(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        shape = self.compute_output_shape(inputs.shape)
        return output_spec(self, shape, (*shape[:2], shape[1]), inputs, *args, **kwargs)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            **kernel_config(self),
        }

    def _affine(self, sequence: Tensor, kernel: Tensor, bias: Tensor = None) -> Tensor:
        rows = dense(sequence, ops.cast(kernel, self.compute_dtype))
        rows = rows if bias is None else rows + ops.cast(bias, self.compute_dtype)
        return ops.expand_dims(rows, 1)  # one head
