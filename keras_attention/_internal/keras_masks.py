"""Get and copy the masks that Keras attaches to tensors, where no layer's call does it.

On some backends a mask is an attribute of the tensor; on all of them Keras passes it to layers.
"""

from typing import Any, final

import keras


def get_keras_mask(tensor: Any) -> Any:
    """Returns the Keras mask of a tensor, or None."""
    return _GetMask()(tensor)


def copy_keras_mask(source: Any, target: Any) -> Any:
    """Returns `target` with the Keras mask of `source`, as a layer between the two would."""
    return _CopyMask()(source, target)


@final
class _GetMask(keras.layers.Layer):
    def __init__(self) -> None:
        # Named, since a TensorFlow scope cannot start with the underscore of the class's name.
        super().__init__(name="get_keras_mask", autocast=False)
        self.supports_masking = True

    def call(self, tensor: Any, mask: Any = None) -> Any:
        return mask

    def compute_mask(self, tensor: Any, previous_mask: Any = None) -> None:
        return None


@final
class _CopyMask(keras.layers.Layer):
    def __init__(self) -> None:
        super().__init__(name="copy_keras_mask", autocast=False)
        self.supports_masking = True

    def call(self, source: Any, target: Any) -> Any:
        return target

    def compute_mask(self, source: Any, previous_mask: Any = None) -> Any:
        return previous_mask
