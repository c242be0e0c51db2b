"""Keras's implicit masks, read and passed on where no call of a layer does it.

A mask is an attribute of the tensor on some backends only, but Keras hands it to layers on all.
"""

from typing import final

import keras


def get_keras_mask(tensor):
    """Returns the Keras mask of a tensor, or None."""
    return _GetMask()(tensor)


def copy_keras_mask(masked, tensor):
    """Gives a tensor the Keras mask of another, as a layer between the two would."""
    return _CopyMask()(masked, tensor)


@final
class _GetMask(keras.layers.Layer):
    def __init__(self):
        # By its class's name, TensorFlow's scopes would start with an underscore.
        super().__init__(name="get_keras_mask", autocast=False)
        self.supports_masking = True

    def call(self, tensor, mask=None):
        return mask

    def compute_mask(self, tensor, previous_mask=None):
        return None


@final
class _CopyMask(keras.layers.Layer):
    def __init__(self):
        super().__init__(name="copy_keras_mask", autocast=False)
        self.supports_masking = True

    def call(self, masked, tensor):
        return tensor

    def compute_mask(self, masked, previous_mask=None):
        return previous_mask
