"""The training loss: cross-entropy with label smoothing."""

import keras
from keras import ops


class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy against (1 - e) on the right token and e spread over the vocabulary.

        loss = (1 - e) * -log p(y) + e * mean_v(-log p(v))

    Keras's own smoothing wants one-hot targets, which are as wide as the vocabulary. Padding is
    left out by the mask of the logits, as in any Keras loss.

    Args:
        smoothing: e, from 0 (plain cross-entropy) up to 1.
    """

    def __init__(self, smoothing: float, name: str = "smoothed_crossentropy"):
        super().__init__(name=name)
        self.smoothing = smoothing

    def call(self, y_true, y_pred):
        log_probs = ops.log_softmax(y_pred, axis=-1)  # (B, T, V)
        right = ops.take_along_axis(log_probs, y_true[:, :, None], axis=-1)[:, :, 0]
        return -(1 - self.smoothing) * right - self.smoothing * ops.mean(log_probs, axis=-1)
