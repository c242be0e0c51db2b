"""The cross-entropy of a linear head as a Keras loss, for `compile`."""

import dataclasses
from typing import Any, final

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.keras_masks import get_keras_mask
from keras_attention._internal.typing import Config, Shape, Tensor
from keras_attention.losses.crossentropy import (
    linear_crossentropy,
    nan_if_out_of_vocabulary,
    token_losses,
)


@final
@dataclasses.dataclass(frozen=True, eq=False)
class HeadOutput:
    """The logits (B, T, V) of a model's head, with the head and the features that it received.

    The models of `ka.models` pass it to their loss as `y_pred`. If the loss uses only the features,
    a compiled step never computes the logits. It is not a tuple, since Keras would split a tuple
    into two outputs.
    """

    logits: Tensor
    features: Tensor  # (B, T, D)
    head: keras.layers.Layer
    training: bool

    def linear_head(self) -> tuple[Tensor, Tensor, str] | None:
        """Returns kernel (D, V), bias or None, and compute dtype. None if the head is not linear.

        A head is linear if it consists of these alone, used as they are stored.
        """
        head = self.head
        if getattr(head, "quantization_mode", None) is not None:
            return None
        if type(head) is keras.layers.Dense and head.activation is keras.activations.linear:
            return head.kernel, head.bias, head.compute_dtype
        if type(head) is keras.layers.ReversibleEmbedding and head.logit_soft_cap is None:
            tied = head.tie_weights
            kernel = ops.transpose(head.embeddings) if tied else head.reverse_embeddings
            return kernel, None, head.reverse_dtype or head.compute_dtype
        return None


@final
@keras.saving.register_keras_serializable("keras_attention")
class LinearCrossentropy(keras.losses.Loss):
    """`linear_crossentropy` as a loss for `compile`, for models with a large, linear last layer.

    Without label smoothing, its values are those of
    `keras.losses.SparseCategoricalCrossentropy(from_logits=True)`.

    In a `ka.models.EncoderDecoder` or `ka.models.Transformer`, if it is the only loss and the head
    is linear, it is computed from the features that the head receives. Then neither the logits
    (B, T, V) nor their gradient are stored. A head is linear if it is a `keras.layers.Dense`
    without an activation, or a `keras.layers.ReversibleEmbedding` without a soft cap. The logits
    are computed as well if a metric needs them or if the model runs eagerly, as on PyTorch.

    With other models and heads, with scheduled sampling, and without a reduction, the loss is
    computed from the logits.

    Args:
        label_smoothing: e in -(1 - e) log p(y) - e mean_v log p(v), at least 0 and below 1.
        reduction, name, dtype: As in any Keras loss.

    Call arguments:
        y_true: (B, T), the target ids, integers.
        y_pred: (B, T, V), the logits.
        sample_weight: (B, T); or (B,) or (B, 1), for whole examples; or a number. (With (B,),
            Keras's own losses fail or take it for (T,).)

    Masking: as in any Keras loss, steps that the mask of the logits excludes do not count.

    Raises:
        ValueError: If `sample_weight` has another shape, or `label_smoothing` is not in [0, 1).

    Example:

    >>> logits = np.random.default_rng(0).normal(size=(2, 3, 7))
    >>> tokens = np.array([[1, 2, 3], [4, 5, 6]])
    >>> keras_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> difference = ka.losses.LinearCrossentropy()(tokens, logits) - keras_loss(tokens, logits)
    >>> abs(float(difference)) < 1e-6
    True

    References: see `ka.losses.linear_crossentropy`.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "linear_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.label_smoothing = validation.dropout_rate("label_smoothing", label_smoothing)

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> Tensor:
        if isinstance(y_pred, HeadOutput):
            linear = y_pred.linear_head()
            if linear is not None and self.reduction not in (None, "none"):
                return self._loss_from_features(y_true, y_pred, sample_weight, *linear)
            y_pred = y_pred.logits
        return self._loss_from_logits(y_true, ops.convert_to_tensor(y_pred), sample_weight)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        token_ids = _token_ids(y_true, y_pred)
        log_totals = ops.logsumexp(y_pred, axis=-1, keepdims=True)
        losses = token_losses(y_pred, log_totals, token_ids, self.label_smoothing)
        return losses * nan_if_out_of_vocabulary(token_ids, y_pred.shape[-1], y_pred.dtype)

    def _loss_from_features(
        self,
        y_true: Tensor,
        y_pred: HeadOutput,
        sample_weight: Tensor,
        kernel: Tensor,
        bias: Tensor,
        compute_dtype: str,
    ) -> Tensor:
        features = y_pred.features
        loss = linear_crossentropy(
            _token_ids(y_true, features),
            ops.cast(features, compute_dtype),
            kernel,
            bias,
            self._step_weights(features, sample_weight),
            self.label_smoothing,
            y_pred.training,
        )
        return ops.cast(loss, self.dtype) * _replica_share(self.reduction, self.dtype)

    def _loss_from_logits(self, y_true: Tensor, logits: Tensor, sample_weight: Tensor) -> Tensor:
        token_ids = _token_ids(y_true, logits)
        if sample_weight is not None:
            sample_weight = _expand_examples(ops.convert_to_tensor(sample_weight), logits)
        for weights in (get_keras_mask(logits), sample_weight):
            if weights is not None:  # A token with weight 0 may have any id.
                weights = _squeeze_last(ops.convert_to_tensor(weights), logits)
                token_ids = ops.where(ops.cast(weights, "bool"), token_ids, 0)
        return super().__call__(token_ids, logits, sample_weight)

    def _step_weights(self, features: Tensor, sample_weight: Tensor) -> Tensor:
        """Returns (B, T): what each step is multiplied by, so that the sum is the reduced loss."""
        shape, mask = ops.shape(features)[:-1], get_keras_mask(features)
        is_counted = ops.cast(ops.ones(shape) if mask is None else mask, self.dtype)
        weights = is_counted
        if sample_weight is not None:
            weights = ops.convert_to_tensor(sample_weight, dtype=self.dtype)
            weights = _squeeze_last(weights, features)
            _validate_sample_weight(tuple(weights.shape), features.shape[:-1])
            weights = _expand_examples(weights, features)
            weights = weights if mask is None else weights * is_counted
        if self.reduction != "sum":
            divisor = weights if self.reduction == "mean_with_sample_weight" else is_counted
            weights = ops.divide_no_nan(weights, ops.sum(divisor))
        return ops.broadcast_to(weights, shape)

    def get_config(self) -> Config:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


def _replica_share(reduction: str, dtype: str) -> Tensor:
    """Returns 1, or 1 / n for a mean on each of n replicas, whose losses TensorFlow adds up.

    Keras divides inside its losses only; here it divides the error of predicting 1 for 0.
    """
    return keras.losses.MeanAbsoluteError(reduction=reduction, dtype=dtype)([[0.0]], [[1.0]])


def _token_ids(y_true: Tensor, y_pred: Tensor) -> Tensor:
    return _squeeze_last(ops.cast(y_true, "int32"), y_pred)


def _squeeze_last(x: Tensor, y_pred: Tensor) -> Tensor:
    """Returns `x` as (B, T); it may be (B, T, 1), which has the rank of `y_pred`."""
    return ops.squeeze(x, -1) if len(x.shape) == len(y_pred.shape) and x.shape[-1] == 1 else x


def _expand_examples(sample_weight: Tensor, y_pred: Tensor) -> Tensor:
    """Returns weights of whole examples, (B,), as (B, 1) beside a `y_pred` (B, T, any)."""
    is_expanded = len(sample_weight.shape) == 1 and len(y_pred.shape) == 3
    return ops.expand_dims(sample_weight, 1) if is_expanded else sample_weight


def _validate_sample_weight(actual: Shape, expected: Shape) -> None:
    matches = len(actual) in (1, len(expected)) and all(
        size in (None, 1, other) or other is None
        for size, other in zip(actual, expected, strict=False)
    )
    if actual != () and not matches:
        raise ValueError(
            f"`sample_weight` has shape {actual}; expected {tuple(expected)}, (batch, steps), "
            "(batch,), (batch, 1) or a number."
        )
