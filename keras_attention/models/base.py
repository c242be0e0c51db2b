"""Models that end in a head over a vocabulary."""

import abc
import contextlib
import weakref
from typing import final

import keras

from keras_attention.losses import LinearCrossentropy


class Seq2SeqModel(keras.Model, abc.ABC):
    """Abstract: a model whose last layer, `head`, makes logits (B, T, V) of features (B, T, D).

    Compiled with `ka.losses.LinearCrossentropy` it hands that loss the features, so that no logits
    are held.
    """

    head: keras.layers.Layer

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._latest = _LatestFeatures()

    def apply_head(self, features, training=None):
        """Returns the head's logits, and remembers what they were made of."""
        logits = self.head(features, training=training)
        self._latest.remember(logits, features)
        return logits

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        features = self._latest.of(y_pred)
        linear = isinstance(self.loss, LinearCrossentropy) and _is_linear(self.head)
        scope = contextlib.nullcontext()
        if features is not None and linear:
            scope = self.loss.reading(self.head, features, training)
        with scope:
            return super().compute_loss(x, y, y_pred, sample_weight, training)


def _is_linear(head):
    """Whether a layer is nothing but a kernel and a bias, as they are stored."""
    return (
        type(head) is keras.layers.Dense
        and head.activation is keras.activations.linear
        and head.quantization_mode is None
    )


@final
class _LatestFeatures:
    """The features that logits were made of, remembered as long as these live."""

    def __init__(self):
        self._logits = self._features = None

    def remember(self, logits, features):
        self._logits, self._features = weakref.ref(logits, self._forget), features

    def of(self, logits):
        return None if self._logits is None or self._logits() is not logits else self._features

    def _forget(self, dead):
        self._logits = self._features = None
