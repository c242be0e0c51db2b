"""Attention that reads where it attended before, and can learn to move on from there."""

from typing import Any, final

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.kernel import add_kernel
from keras_attention._internal.typing import Config, Initializer, Tensor
from keras_attention._ops.dense import dense
from keras_attention.attention.history import HistoryAttention


@final
@keras.saving.register_keras_serializable("keras_attention")
class LocationSensitiveAttention(HistoryAttention):
    """Additive attention that reads a convolution over its previous weights.

        f_i = F * a_{i-1}
        e_ij = w^T tanh(W s_{i-1} + V h_j + U f_ij + b)                  (section 2)
        a_i = softmax(e_i),  g_i = sum_j a_ij h_j

    With `cumulative`, the convolution reads the sum of all previous weights, as in Tacotron 2. The
    papers leave open what the convolution reads at the first step; here, as is common, it reads
    zeros. Each step needs the weights of the previous step, so a call processes its queries one by
    one.

    Variables: `query_kernel` (Dq, units) is W^T, `key_kernel` (Dk, units) is V^T,
    `location_filters` (kernel_size, 1, filters) is F, `location_kernel` (filters, units) is U^T,
    `bias` (units,) is b and `score_vector` (units,) is w.

    Args:
        units: Size of the hidden layer.
        filters: Number of features in f_ij. The paper uses 10, Tacotron 2 uses 32.
        kernel_size: Number of memory steps that a feature reads, centered on j. An even number
            reads one more step to the right than to the left. The paper uses 201, Tacotron 2 uses
            31.
        cumulative: Whether F reads the sum of all previous weights instead of the last weights
            alone.
        kernel_initializer: Initializer of the kernels, the filters and the vector. The bias starts
            at zero.
        dropout: Fraction of the attention weights to drop in training. The convolution reads the
            dropped ones too.
        seed: Seed of the dropout.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments, Returns, Masking: see `call`. The convolution reads zeros beyond the ends of the
    memory and at its padding. A masked query does not change the state.

    Raises:
        ValueError: If `units`, `filters` or `kernel_size` is not a positive integer, or `dropout`
            is not in [0, 1).

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

    def __init__(
        self,
        units: int,
        filters: int,
        kernel_size: int,
        cumulative: bool = False,
        kernel_initializer: Initializer = "glorot_uniform",
        dropout: float = 0.0,
        seed: int | None = None,
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *(units, kernel_initializer, dropout, seed, kernel_regularizer, kernel_constraint),
            **kwargs,
        )
        self.filters = validation.positive_integer("filters", filters)
        self.kernel_size = validation.positive_integer("kernel_size", kernel_size)
        self.cumulative = cumulative

    def _add_history_variables(self) -> None:
        shape = (self.kernel_size, 1, self.filters)
        self.location_filters = add_kernel(self, "location_filters", shape)
        self.location_kernel = add_kernel(self, "location_kernel", (self.filters, self.units))

    def _history_features(self, state: Tensor) -> Tensor:
        features = ops.conv(
            ops.expand_dims(state, 2),
            self._cast(self.location_filters),
            padding="same",
            data_format="channels_last",
        )  # (B, S, F)
        return dense(features, self._cast(self.location_kernel))

    def _next_state(self, state: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        if self.cumulative:
            return state + weights
        # If everything is masked, the previous weights stay.
        return weights if mask is None else ops.where(ops.any(mask, axis=-1), weights, state)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "cumulative": self.cumulative,
        }
