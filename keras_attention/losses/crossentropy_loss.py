"""The cross-entropy of a linear head as a Keras loss, for `compile`."""

import contextlib
from typing import final

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.keras_masks import get_keras_mask
from keras_attention.losses.crossentropy import known_or_nan, linear_crossentropy, losses_of


@final
@keras.saving.register_keras_serializable("keras_attention")
class LinearCrossentropy(keras.losses.Loss):
    """`linear_crossentropy` for `compile`: of a model whose last layer is a large `Dense`.

    The same numbers as `keras.losses.SparseCategoricalCrossentropy(from_logits=True)`. Given to
    `compile` of `ka.models.EncoderDecoder` or `ka.models.Transformer` by itself, it takes the place
    of their head, if that is a `keras.layers.Dense` without an activation: neither logits (B, T, V)
    nor their gradient are held. The logits are computed beside it where something else asks for
    them, such as a metric, and where a model runs eagerly, as on PyTorch. With other models and
    heads, with scheduled sampling, and without a reduction it takes the logits.

    Args:
        label_smoothing: e in (1 - e) -log p(y) + e mean_v(-log p(v)), from 0 up to 1.
        reduction, name, dtype: As in any Keras loss.

    Call arguments:
        y_true: (B, T), tokens.
        y_pred: (B, T, V), logits.
        sample_weight: (B, T), (B, 1) or a number.

    Masking: Steps that the mask of the logits leaves out do not count, as in any Keras loss.

    Example:

    >>> logits = np.random.default_rng(0).normal(size=(2, 3, 7))
    >>> tokens = np.array([[1, 2, 3], [4, 5, 6]])
    >>> keras_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> difference = ka.losses.LinearCrossentropy()(tokens, logits) - keras_loss(tokens, logits)
    >>> abs(float(difference)) < 1e-6
    True
    """

    def __init__(
        self,
        label_smoothing=0.0,
        reduction="sum_over_batch_size",
        name="linear_crossentropy",
        dtype=None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.label_smoothing = validation.dropout_rate("label_smoothing", label_smoothing)
        self._read = None

    @contextlib.contextmanager
    def reading(self, head, features, training):
        """A scope in which `y_pred` counts as what `head` makes of `features`."""
        self._read = (head, features, training)
        try:
            yield
        finally:
            self._read = None

    def __call__(self, y_true, y_pred, sample_weight=None):
        if self._read is None or self.reduction in (None, "none"):
            return self._of_logits(y_true, ops.convert_to_tensor(y_pred), sample_weight)
        head, features, training = self._read
        loss = linear_crossentropy(
            _tokens(y_true, features),
            ops.cast(features, head.compute_dtype),
            head.kernel,
            head.bias,
            self._weights(features, sample_weight),
            self.label_smoothing,
            training,
        )
        # As a loss of one, so that Keras shares it out among replicas.
        total = ops.reshape(loss, (1,))
        return _Summed(reduction=self.reduction, dtype=self.dtype)(total, total)

    def call(self, y_true, y_pred):
        tokens = _tokens(y_true, y_pred)
        totals = ops.logsumexp(y_pred, axis=-1, keepdims=True)
        losses = losses_of(y_pred, totals, tokens, self.label_smoothing)
        return losses * known_or_nan(tokens, y_pred.shape[-1], y_pred.dtype)

    def _of_logits(self, y_true, y_pred, sample_weight):
        tokens = _tokens(y_true, y_pred)
        for weights in (get_keras_mask(y_pred), sample_weight):
            if weights is not None:  # What does not count may be any number.
                counted = ops.cast(_without_last(ops.convert_to_tensor(weights), y_pred), "bool")
                tokens = ops.where(counted, tokens, 0)
        return super().__call__(tokens, y_pred, sample_weight)

    def _weights(self, features, sample_weight):
        """What each step counts for, (B, T), so that a sum is what the reduction asks for."""
        shape, mask = ops.shape(features)[:-1], get_keras_mask(features)
        counted = ops.ones(shape) if mask is None else mask
        weights = counted = ops.cast(counted, self.dtype)
        if sample_weight is not None:
            weights = ops.convert_to_tensor(sample_weight, dtype=self.dtype)
            weights = _without_last(weights, features)
            _check_sample_weight(tuple(weights.shape), features.shape[:-1])
            weights = weights if mask is None else weights * counted
        if self.reduction != "sum":
            divisor = weights if self.reduction == "mean_with_sample_weight" else counted
            weights = ops.divide_no_nan(weights, ops.sum(divisor))
        return ops.broadcast_to(weights, shape)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@final
class _Summed(keras.losses.Loss):
    """What was summed already."""

    def call(self, y_true, y_pred):
        return y_pred


def _tokens(y_true, y_pred):
    return _without_last(ops.cast(y_true, "int32"), y_pred)


def _without_last(x, y_pred):
    """(B, T) of such, or of (B, T, 1)."""
    return ops.squeeze(x, -1) if len(x.shape) == len(y_pred.shape) and x.shape[-1] == 1 else x


def _check_sample_weight(came, shape):
    sizes = zip(came, shape, strict=False)
    if len(came) not in (0, len(shape)) or any(
        size not in (None, 1, wanted) and wanted is not None for size, wanted in sizes
    ):
        raise ValueError(
            f"`sample_weight` has shape {came}; expected {tuple(shape)}, (batch, steps), "
            "(batch, 1) or a number."
        )
