"""Models that end in a head over a vocabulary."""

import abc
import weakref
from typing import Any, final

import keras

from keras_attention._internal.typing import Tensor
from keras_attention.losses.crossentropy_loss import HeadOutput, LinearCrossentropy


class Seq2SeqModel(keras.Model, abc.ABC):
    """Abstract: a model whose last layer, `head`, maps features (B, T, D) to logits (B, T, V).

    A model compiled with `ka.losses.LinearCrossentropy` passes the features to that loss, so that
    no logits are stored.
    """

    head: keras.layers.Layer

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._features = _FeatureCache()

    def apply_head(self, features: Tensor, training: bool | None = None) -> Tensor:
        """Returns the head's logits. `compute_loss` finds the features that belong to them."""
        logits = self.head(features, training=training)
        self._features.set(logits, features)
        return logits

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        features = self._features.get(y_pred)
        if features is not None and isinstance(self.loss, LinearCrossentropy):
            y_pred = HeadOutput(y_pred, features, self.head, training)
        return super().compute_loss(x, y, y_pred, sample_weight, training)


@final
class _FeatureCache:
    """The features of the latest logits, until these are deleted.

    Keras passes nothing but the logits from the call to the loss.
    """

    def __init__(self) -> None:
        self._logits: weakref.ref[Any] | None = None
        self._features: Tensor = None

    def set(self, logits: Tensor, features: Tensor) -> None:
        self._logits, self._features = weakref.ref(logits, self._clear), features

    def get(self, logits: Tensor) -> Tensor:
        return None if self._logits is None or self._logits() is not logits else self._features

    def _clear(self, reference: Any) -> None:
        self._logits = self._features = None
