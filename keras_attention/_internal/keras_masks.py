"""Keras's implicit masks, outside of the call of a layer.

Only on some backends the mask is an attribute of the tensor, but on all of them Keras passes it to
layers. So these functions are layers.
"""

from typing import final

import keras

from keras_attention._internal.typing import Tensor


def get_keras_mask(tensor: Tensor) -> Tensor:
    """Returns the Keras mask of a tensor, or None."""
    return _GetMask()(tensor)


def copy_keras_mask(masked: Tensor, tensor: Tensor) -> Tensor:
    """Returns `tensor` with the Keras mask of `masked`."""
    return _CopyMask()(masked, tensor)


@final
class _GetMask(keras.layers.Layer):
    def __init__(self) -> None:
        # The default, the class's name, would start a TensorFlow scope with an underscore.
        super().__init__(name="get_keras_mask", autocast=False)
        self.supports_masking = True

    def call(self, tensor: Tensor, mask: Tensor = None) -> Tensor:
        return mask

    def compute_mask(self, tensor: Tensor, previous_mask: Tensor = None) -> None:
        return None


@final
class _CopyMask(keras.layers.Layer):
    def __init__(self) -> None:
        super().__init__(name="copy_keras_mask", autocast=False)
        self.supports_masking = True

    def call(self, masked: Tensor, tensor: Tensor) -> Tensor:
        return tensor
