"""Quantized layers inside a layer: what a saved file says about them.

Keras saves the quantization of a layer in its config, which the layers that another one makes for
itself do not have in the file.
"""

from typing import Any

import keras

from keras_attention._internal.typing import Config


class QuantizableParts(keras.layers.Layer):
    """Abstract: a layer whose own sublayers are loaded as `quantize` left them."""

    def get_build_config(self) -> Config | None:
        config = super().get_build_config()
        quantized = {
            layer.name: {
                "mode": layer.quantization_mode,
                "config": keras.saving.serialize_keras_object(layer.quantization_config),
            }
            for layer in self._flatten_layers(include_self=False, recursive=False)
            if layer.quantization_mode is not None
        }
        return {**config, "quantized": quantized} if config and quantized else config

    def build_from_config(self, config: Any) -> None:
        super().build_from_config(config)
        quantized = config.get("quantized", {})
        for layer in self._flatten_layers(include_self=False, recursive=False):
            if layer.quantization_mode is None and layer.name in quantized:
                options = quantized[layer.name]
                quantization = keras.saving.deserialize_keras_object(options["config"])
                layer.quantize(options["mode"], config=quantization)
