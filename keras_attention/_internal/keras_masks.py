"""Keras's implicit masks, read and passed on where no call of a layer does it.

A mask is an attribute of the tensor on some backends only, but Keras hands it to layers on all.
"""

from typing import final

import keras


def mask_of(tensor):
    """Returns the Keras mask of a tensor, or None."""
    return _MaskOf()(tensor)


def with_mask_of(masked, tensor):
    """Gives a tensor the Keras mask of another, as a layer between the two would."""
    return _WithMaskOf()(masked, tensor)


@final
class _MaskOf(keras.layers.Layer):
    def __init__(self):
        # By its class's name, TensorFlow's scopes would start with an underscore.
        super().__init__(name="mask_of", autocast=False)
        self.supports_masking = True

    def call(self, tensor, mask=None):
        return mask

    def compute_mask(self, tensor, previous_mask=None):
        return None


@final
class _WithMaskOf(keras.layers.Layer):
    def __init__(self):
        super().__init__(name="with_mask_of", autocast=False)
        self.supports_masking = True

    def call(self, masked, tensor):
        return tensor

    def compute_mask(self, masked, previous_mask=None):
        return previous_mask
