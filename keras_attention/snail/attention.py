"""SNAIL's attention, which looks something up in the past of a sequence."""

from typing import final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention._internal.serialization import clone_initializer
from keras_attention._ops import flash_attention
from keras_attention._ops.dense import dense
from keras_attention._ops.dot_product_attention import scaled_dot_product_attention


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

        def add(name, *shape):
            initializer = clone_initializer(self.kernel_initializer) if len(shape) > 1 else "zeros"
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        width = inputs_shape[2]
        self.query_kernel = add("query_kernel", width, self.key_dim)
        self.query_bias = add("query_bias", self.key_dim)
        self.key_kernel = add("key_kernel", width, self.key_dim)
        self.value_kernel = add("value_kernel", width, self.value_dim)
        self.value_bias = add("value_bias", self.value_dim)

    def call(self, inputs, mask=None, return_attention_scores=False):
        validation.sequence("inputs", inputs.shape)
        validation.mask("mask", mask, inputs.shape[:2], "(batch, steps)")
        inputs, length = masks.zero_masked(inputs, mask), ops.shape(inputs)[1]
        query = self._affine(inputs, self.query_kernel, self.query_bias)  # (B, 1, T, key_dim)
        key = self._affine(inputs, self.key_kernel)
        value = self._affine(inputs, self.value_kernel, self.value_bias)  # (B, 1, T, value_dim)
        if not return_attention_scores:
            query = query / self.key_dim**0.5
            read = flash_attention.attend(query, key, value, mask, mask, causal=True)
            return ops.concatenate([inputs, read[:, 0]], axis=-1)
        allowed = masks.combine(mask, mask, causal_mask=masks.causal_mask(length, length))
        read, weights = scaled_dot_product_attention(query, key, value, allowed)
        return ops.concatenate([inputs, read[:, 0]], axis=-1), weights[:, 0]

    def compute_mask(self, inputs, previous_mask=None):
        return previous_mask

    def compute_output_shape(self, inputs_shape):
        validation.sequence("inputs", inputs_shape)
        return (*inputs_shape[:2], inputs_shape[2] + self.value_dim)

    def compute_output_spec(self, inputs, mask=None, return_attention_scores=False):
        shape = self.compute_output_shape(inputs.shape)
        outputs = keras.KerasTensor(shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return outputs
        return outputs, keras.KerasTensor((*shape[:2], shape[1]), dtype=self.compute_dtype)

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
