"""Keras's implicit masks, where a tensor goes from one layer to the next without a call."""

from typing import final

import keras


@final
class MaskOf(keras.layers.Layer):
    """Returns the Keras mask of a tensor, or None.

    It is an attribute of the tensor on some backends only, but Keras hands it to layers on all.
    """

    def __init__(self):
        super().__init__(name="mask_of", autocast=False)
        self.supports_masking = True

    def call(self, tensor, mask=None):
        return mask

    def compute_mask(self, tensor, previous_mask=None):
        return None


@final
class WithMaskOf(keras.layers.Layer):
    """Gives a tensor the Keras mask of another, as a layer between the two would."""

    def __init__(self):
        super().__init__(name="with_mask_of", autocast=False)
        self.supports_masking = True

    def call(self, masked, tensor):
        return tensor

    def compute_mask(self, masked, previous_mask=None):
        return previous_mask
