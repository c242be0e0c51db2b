"""The symbolic output of layers that return their attention weights on request."""

import keras

from keras_attention._internal.typing import Shape, Tensor


def output_spec(
    layer: keras.layers.Layer, shape: Shape, weights_shape: Shape, return_attention_scores: bool
) -> Tensor:
    """Returns the output of `layer`, with `return_attention_scores` also the weights."""
    output = keras.KerasTensor(shape, dtype=layer.compute_dtype)
    if not return_attention_scores:
        return output
    return output, keras.KerasTensor(weights_shape, dtype=layer.compute_dtype)
