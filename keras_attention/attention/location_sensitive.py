"""Attention that knows where it looked before, and can learn to move on from there."""

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
class LocationSensitiveAttention(SequenceAttention):
    """Additive attention that reads a convolution over its previous weights.

        f_i = F * a_{i-1}
        e_ij = w^T tanh(W s_{i-1} + V h_j + U f_ij + b)                  (section 2)
        a_i = softmax(e_i),  g_i = sum_j a_ij h_j

    With `cumulative`, the convolution reads the sum of all previous weights, as in Tacotron 2. What
    it reads at the first step the papers leave open: it is zero here, the common choice. Each step
    needs the one before it: a call walks its queries one by one.

    Weights: `query_kernel` (Dq, units) is W, `key_kernel` (Dk, units) V, `location_filters`
    (kernel_size, 1, filters) F, `location_kernel` (filters, units) U, `bias` and `score_vector`
    (units,) b and w.

    Args:
        units: Width of the hidden layer.
        filters: How many features f_ij has. The paper has 10, Tacotron 2 32.
        kernel_size: How many memory steps a feature sees, with f_ij in the middle; of an even
            number, one more to the right than to the left. The paper has 201, Tacotron 2 31.
        cumulative: Whether the sum of all previous weights is read, in place of the last ones.
        kernel_initializer: Initializer of the kernels, filters and vector; the bias starts at zero.
        dropout: Share of the weights dropped in training; the convolution reads them all.
        seed: Seed of the dropout.

    Call arguments, Returns, Masking: see `SequenceAttention`. Beyond the memory's end, and at its
    padding, the convolution reads zeros. A masked query is as if it were not there.

    Example:

    >>> attention = ka.LocationSensitiveAttention(13, filters=2, kernel_size=3)
    >>> context, weights = attention(
    ...     np.ones((2, 3, 7)), np.ones((2, 5, 11)), return_attention_scores=True
    ... )
    >>> tuple(context.shape), tuple(weights.shape)
    ((2, 3, 11), (2, 3, 5))

    References: Chorowski et al. 2015, "Attention-Based Models for Speech Recognition",
    arXiv:1506.07503, section 2; Shen et al. 2017, "Natural TTS Synthesis by Conditioning WaveNet
    on Mel Spectrogram Predictions", arXiv:1712.05884, section 2.2.
    """

    sequential = True

    def __init__(
        self,
        units,
        filters,
        kernel_size,
        cumulative=False,
        kernel_initializer="glorot_uniform",
        dropout=0.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(dropout, seed, **kwargs)
        self.units = validation.positive_integer("units", units)
        self.filters = validation.positive_integer("filters", filters)
        self.kernel_size = validation.positive_integer("kernel_size", kernel_size)
        self.cumulative = cumulative
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build_projections(self, query_shape, value_shape, key_shape):
        def add(name, shape):
            initializer = clone_initializer(self.kernel_initializer)
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        self.query_kernel = add("query_kernel", (query_shape[-1], self.units))
        self.key_kernel = add("key_kernel", (key_shape[-1], self.units))
        self.location_filters = add("location_filters", (self.kernel_size, 1, self.filters))
        self.location_kernel = add("location_kernel", (self.filters, self.units))
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
        features = ops.conv(
            ops.expand_dims(self._cast(state), 2),
            self._cast(self.location_filters),
            padding="same",
            data_format="channels_last",
        )  # (B, S, F)
        location = dense(features, self._cast(self.location_kernel))  # (B, S, U)
        hidden = ops.tanh(memory["keys"] + query + location)
        scores = ops.einsum("bsu,u->bs", hidden, self._cast(self.score_vector))
        weights = masks.masked_softmax(ops.expand_dims(scores, 1), mask)  # (B, 1, S)
        seen = ops.cast(ops.squeeze(weights, 1), state.dtype)
        if self.cumulative:
            seen = state + seen
        elif mask is not None:  # What looked at nothing is not what was seen last.
            seen = ops.where(ops.any(mask, axis=-1), seen, state)
        return weighted_sum(weights, memory, noise), weights, seen

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "cumulative": self.cumulative,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    def _cast(self, tensor):
        return ops.cast(tensor, self.compute_dtype)
