"""Models that end in a head over a vocabulary."""

import abc
import weakref
from typing import final

import keras

from keras_attention.losses import LinearCrossentropy


class HeadedModel(keras.Model, abc.ABC):
    """Abstract: a model whose last layer, `head`, makes logits (B, T, V) of features (B, T, D).

    Compiled with `ka.losses.LinearCrossentropy` it hands that loss the features, so that no logits
    are held.
    """

    head: keras.layers.Layer

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._source = _Source()

    def logits_of(self, features, training=None):
        """Returns the head's logits, and remembers what they were made of."""
        logits = self.head(features, training=training)
        self._source.remember(logits, features)
        return logits

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        arguments = {"x": x, "y": y, "y_pred": y_pred, "sample_weight": sample_weight}
        features = self._source.of(y_pred)
        fits = isinstance(self.loss, LinearCrossentropy) and _is_linear(self.head)
        if features is None or not fits:
            return super().compute_loss(**arguments, training=training)
        with self.loss.of_head(self.head, features, training):
            return super().compute_loss(**arguments, training=training)


def _is_linear(head):
    """Whether a layer is nothing but a kernel and a bias, as they are stored."""
    return (
        type(head) is keras.layers.Dense
        and head.activation is keras.activations.linear
        and head.quantization_mode is None
    )


@final
class _Source:
    """The features that some logits were made of, remembered as long as these live."""

    def __init__(self):
        self._latest = None

    def remember(self, logits, features):
        def forget(reference):
            if self._latest is not None and self._latest[0] is reference:
                self._latest = None

        self._latest = (weakref.ref(logits, forget), features)

    def of(self, logits):
        if self._latest is None or self._latest[0]() is not logits:
            return None
        return self._latest[1]
