"""The symbolic output of layers that return their attention weights on request."""

import inspect
from typing import Any

import keras

from keras_attention._internal.typing import Shape, Tensor


def output_spec(
    layer: keras.layers.Layer, shape: Shape, weights_shape: Shape, *args: Any, **kwargs: Any
) -> Tensor:
    """Returns the output of `layer(*args, **kwargs)`, and the weights if the call asks for them."""
    arguments = inspect.signature(layer.call).bind(*args, **kwargs).arguments
    output = keras.KerasTensor(shape, dtype=layer.compute_dtype)
    if not arguments.get("return_attention_scores"):
        return output
    return output, keras.KerasTensor(weights_shape, dtype=layer.compute_dtype)
