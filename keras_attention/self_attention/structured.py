"""Structured self-attention: a matrix, not a vector, for a whole sequence."""

from typing import final

import keras
from keras import backend, ops

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention._internal.output_spec import output_spec
from keras_attention._internal.serialization import add_kernel
from keras_attention._ops.dense import dense


def redundancy(weights):
    """||A A^T - I||_F^2 of `weights` A (B, hops, S): (B,), at least in float32.

    It is zero if every hop looks at one step, and no two at the same. An example that looks nowhere
    has nothing to spread: it counts as zero too.
    """
    weights = ops.cast(weights, backend.result_type(weights.dtype, "float32"))
    overlaps = ops.matmul(weights, ops.transpose(weights, (0, 2, 1)))  # (B, hops, hops)
    excess = overlaps - ops.eye(weights.shape[1], dtype=weights.dtype)
    looks = ops.cast(ops.sum(weights, axis=(1, 2)) > 0, weights.dtype)
    return ops.sum(ops.square(excess), axis=(1, 2)) * looks


@final
@keras.saving.register_keras_serializable("keras_attention")
class StructuredSelfAttention(keras.layers.Layer):
    """Several weighted means of a sequence, each with weights of its own.

        A = softmax(W_s2 tanh(W_s1 H^T))
        M = A H
        P = ||A A^T - I||_F^2                                                    (section 2)

    The penalty P, which keeps the hops from looking at the same steps, joins the loss of the model:
    its mean over the batch, times `penalty`. W_s1^T is the weight `kernel` (D, units), W_s2^T is
    `hop_kernel` (units, hops).

    Args:
        units: Width of the hidden layer, the paper's d_a.
        hops: Number of means, the paper's r.
        penalty: What P counts in the loss. At 0 no loss is added.
        kernel_initializer: Initializer of the kernels.

    Call arguments:
        inputs: (B, S, D), the paper's H.
        mask: (B, S), the steps that count.
        return_attention_scores: Whether to return the weights too.

    Returns:
        M (B, hops, D); with `return_attention_scores` also A (B, hops, S).

    Masking: True means "counts". Where nothing does, A and M are zero, and so is P: with nothing to
    look at there is nothing to spread. The mask ends here, as the steps do.

    Example:

    >>> attention = ka.StructuredSelfAttention(units=13, hops=3, penalty=0.5)
    >>> tuple(attention(np.ones((2, 5, 7))).shape)
    (2, 3, 7)
    >>> len(attention.losses)
    1

    Reference: Lin et al. 2017, "A Structured Self-attentive Sentence Embedding", arXiv:1703.03130,
    section 2.
    """

    def __init__(self, units, hops, penalty=0.0, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.units = validation.positive_integer("units", units)
        self.hops = validation.positive_integer("hops", hops)
        self.penalty = validation.not_negative("penalty", penalty)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.supports_masking = True

    def build(self, inputs_shape):
        validation.rank("inputs", inputs_shape, "(batch, steps, width)")

        self.kernel = add_kernel(self, "kernel", (inputs_shape[-1], self.units))
        self.hop_kernel = add_kernel(self, "hop_kernel", (self.units, self.hops))

    def call(self, inputs, mask=None, return_attention_scores=False):
        validation.rank("inputs", inputs.shape, "(batch, steps, width)")
        validation.mask("mask", mask, inputs.shape[:2], "(batch, steps)")
        hidden = ops.tanh(dense(inputs, ops.cast(self.kernel, self.compute_dtype)))
        scores = dense(hidden, ops.cast(self.hop_kernel, self.compute_dtype))  # (B, S, hops)
        scores = ops.transpose(scores, (0, 2, 1))
        mask = None if mask is None else ops.expand_dims(mask, 1)
        weights = masks.masked_softmax(scores, mask)  # (B, hops, S)
        if self.penalty:
            self.add_loss(self.penalty * ops.mean(redundancy(weights)))
        means = ops.matmul(weights, inputs)  # (B, hops, D)
        return (means, weights) if return_attention_scores else means

    def compute_mask(self, inputs, previous_mask=None):
        return None

    def compute_output_shape(self, inputs_shape):
        validation.rank("inputs", inputs_shape, "(batch, steps, width)")
        return (inputs_shape[0], self.hops, inputs_shape[2])

    def compute_output_spec(self, inputs, mask=None, return_attention_scores=False):
        shape = self.compute_output_shape(inputs.shape)
        weights_shape = (*shape[:2], inputs.shape[1])
        return output_spec(self, shape, weights_shape, return_attention_scores)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "hops": self.hops,
            "penalty": self.penalty,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
