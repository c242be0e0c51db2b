"""SNAIL's attention, which looks something up in the past of a sequence."""

from typing import final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention._internal.output_spec import output_spec
from keras_attention._internal.serialization import add_kernel
from keras_attention._ops.dense import dense
from keras_attention._ops.dot_product_attention import dot_product_attention


@final
@keras.saving.register_keras_serializable("keras_attention")
class SnailAttentionBlock(keras.layers.Layer):
    """SNAIL's attention block: what a look at the past reads, put beside the inputs.

        read = softmax(Q K^T / sqrt(key_dim)) V            over the steps up to each
        outputs = [x; read]                                         (section 3, "AttentionBlock")

    Q = x W_q + b_q, K = x W_k and V = x W_v + b_v have the weights `query_kernel`, `query_bias`,
    `key_kernel`, `value_kernel` and `value_bias`. A bias of the keys, which the paper's "affine"
    has too, would add the same to all scores of a query, which a softmax does not see.

    Args:
        key_dim: Width of queries and keys, the paper's K.
        value_dim: Width of the values and of what is read, the paper's V.
        kernel_initializer: Initializer of the kernels.

    Call arguments:
        inputs: (B, T, D).
        mask: (B, T), the steps that count.
        return_attention_scores: Whether to return the weights too. The outputs stay the same.

    Returns:
        The outputs (B, T, D + value_dim); with `return_attention_scores` also the weights
        (B, T, T), zero above the diagonal.

    Masking: True means "counts". No step looks at one that does not, whose outputs and weights
    are zeros. The mask is passed on.

    Memory: linear in T where no weights are asked for; see `_ops/flash_attention.py`.
    With them it holds the weights, (B, T, T).

    Example:

    >>> block = ka.SnailAttentionBlock(key_dim=5, value_dim=3)
    >>> outputs, weights = block(np.ones((2, 4, 7)), return_attention_scores=True)
    >>> tuple(outputs.shape), tuple(weights.shape)
    ((2, 4, 10), (2, 4, 4))

    Reference: Mishra, Rohaninejad, Chen, Abbeel 2018, "A Simple Neural Attentive Meta-Learner",
    arXiv:1707.03141, section 3.
    """

    def __init__(self, key_dim, value_dim, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.key_dim = validation.positive_integer("key_dim", key_dim)
        self.value_dim = validation.positive_integer("value_dim", value_dim)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.supports_masking = True

    def build(self, inputs_shape):
        validation.sequence("inputs", inputs_shape)

        dim = inputs_shape[2]
        self.query_kernel = add_kernel(self, "query_kernel", (dim, self.key_dim))
        self.query_bias = self.add_weight(
            name="query_bias", shape=(self.key_dim,), initializer="zeros"
        )
        self.key_kernel = add_kernel(self, "key_kernel", (dim, self.key_dim))
        self.value_kernel = add_kernel(self, "value_kernel", (dim, self.value_dim))
        self.value_bias = self.add_weight(
            name="value_bias", shape=(self.value_dim,), initializer="zeros"
        )

    def call(self, inputs, mask=None, return_attention_scores=False):
        validation.sequence("inputs", inputs.shape)
        validation.mask("mask", mask, inputs.shape[:2], "(batch, steps)")
        inputs = masks.zero_masked(inputs, mask)
        query = self._affine(inputs, self.query_kernel, self.query_bias)  # (B, 1, T, key_dim)
        key = self._affine(inputs, self.key_kernel)
        value = self._affine(inputs, self.value_kernel, self.value_bias)  # (B, 1, T, value_dim)
        read, weights = dot_product_attention(
            query, key, value, mask, mask, causal=True, return_weights=return_attention_scores
        )
        outputs = ops.concatenate([inputs, read[:, 0]], axis=-1)
        return (outputs, weights[:, 0]) if return_attention_scores else outputs

    def compute_output_shape(self, inputs_shape):
        validation.sequence("inputs", inputs_shape)
        return (*inputs_shape[:2], inputs_shape[2] + self.value_dim)

    def compute_output_spec(self, inputs, mask=None, return_attention_scores=False):
        shape = self.compute_output_shape(inputs.shape)
        return output_spec(self, shape, (*shape[:2], shape[1]), return_attention_scores)

    def get_config(self):
        return {
            **super().get_config(),
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    def _affine(self, sequence, kernel, bias=None):
        rows = dense(sequence, ops.cast(kernel, self.compute_dtype))
        rows = rows if bias is None else rows + ops.cast(bias, self.compute_dtype)
        return ops.expand_dims(rows, 1)  # one head
