"""Attention that knows how much of each memory position it has covered already."""

from typing import final

import keras
from keras import backend, ops

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention._internal.serialization import clone_initializer
from keras_attention._ops.dense import dense
from keras_attention.attention.base import combined_mask, validate_single_step, weighted_sum
from keras_attention.attention.sequence import SequenceAttention


@final
@keras.saving.register_keras_serializable("keras_attention")
class CoverageAttention(SequenceAttention):
    """Additive attention that reads the sum of its past weights, so as not to repeat itself.

        c^t = sum_{t' < t} a^t'
        e^t_i = v^T tanh(W_h h_i + W_s s_t + w_c c^t_i + b)           (section 2.3)
        a^t = softmax(e^t),  h*_t = sum_i a^t_i h_i                   (section 2.1)

    c^0 is zero. Each step needs the one before it: a call walks its queries one by one. The loss
    that goes with it is `ka.losses.coverage_loss`.

    Weights: `query_kernel` (Dq, units) is W_s, `key_kernel` (Dk, units) is W_h, `coverage_vector`,
    `bias` and `score_vector` (units,) are w_c, b and v.

    Args:
        units: Width of the hidden layer.
        kernel_initializer: Initializer of the kernels and vectors; the bias starts at zero.
        dropout: Share of the weights dropped in training; the coverage counts them all.
        seed: Seed of the dropout.

    Call arguments, Returns, Masking: see `SequenceAttention`. A masked query is as if it were
    not there.

    Example:

    >>> attention = ka.CoverageAttention(13)
    >>> context, weights = attention(
    ...     np.ones((2, 3, 7)), np.ones((2, 5, 11)), return_attention_scores=True
    ... )
    >>> tuple(context.shape), tuple(weights.shape)
    ((2, 3, 11), (2, 3, 5))

    References: See, Liu, Manning 2017, "Get To The Point: Summarization with Pointer-Generator
    Networks", arXiv:1704.04368, section 2. Coverage is of Tu et al. 2016, "Modeling Coverage for
    Neural Machine Translation", arXiv:1601.04811.
    """

    sequential = True

    def __init__(
        self, units, kernel_initializer="glorot_uniform", dropout=0.0, seed=None, **kwargs
    ):
        super().__init__(dropout, seed, **kwargs)
        self.units = validation.positive_integer("units", units)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build_projections(self, query_shape, value_shape, key_shape):
        def add(name, shape):
            initializer = clone_initializer(self.kernel_initializer)
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        self.query_kernel = add("query_kernel", (query_shape[-1], self.units))
        self.key_kernel = add("key_kernel", (key_shape[-1], self.units))
        self.coverage_vector = add("coverage_vector", (self.units,))
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.score_vector = add("score_vector", (self.units,))

    def make_keys(self, key):
        return dense(key, self._cast(self.key_kernel)) + self._cast(self.bias)  # (B, S, U)

    def initial_state(self, memory):
        # Sums of many small weights: bfloat16 would stop counting at 1.
        dtype = backend.result_type(self.compute_dtype, "float32")
        return ops.zeros(ops.shape(memory["value"])[:2], dtype=dtype)  # (B, S)

    def sample_alignment_noise(self, shape, training):
        return ()

    def attend(self, query, memory, state, noise, mask=None):
        validate_single_step(self, query)
        mask = combined_mask(memory, mask)
        query = dense(query, self._cast(self.query_kernel))  # (B, 1, U)
        covered = ops.expand_dims(self._cast(state), 2) * self._cast(
            self.coverage_vector
        )  # (B, S, U)
        hidden = ops.tanh(memory["keys"] + query + covered)
        scores = ops.einsum("bsu,u->bs", hidden, self._cast(self.score_vector))
        weights = masks.masked_softmax(ops.expand_dims(scores, 1), mask)  # (B, 1, S)
        covered = state + ops.cast(ops.squeeze(weights, 1), state.dtype)
        return weighted_sum(weights, memory, noise), weights, covered

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    def _cast(self, tensor):
        return ops.cast(tensor, self.compute_dtype)
