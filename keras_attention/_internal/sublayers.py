"""The layers that a layer makes for itself: what a saved file says about them.

A file has no config of theirs, in which Keras would save that they are quantized, have matrices of
LoRA or are frozen.
"""

from typing import Any

import keras

from keras_attention._internal.typing import Config


class SavedSublayers(keras.layers.Layer):
    """Abstract: a layer whose own sublayers are loaded as `quantize` and others left them."""

    trainable: bool

    def _post_build(self) -> None:
        super()._post_build()
        if not self.trainable:
            # Keras freezes variables when `trainable` changes, and those of sublayers came later.
            self.trainable = True
            self.trainable = False

    def get_build_config(self) -> Any:
        config = super().get_build_config()
        changes = {layer.name: _changes(layer) for layer in _sublayers(self)}
        changes = {name: changed for name, changed in changes.items() if changed}
        return {**config, "sublayers": changes} if config and changes else config

    def build_from_config(self, config: Config) -> None:
        super().build_from_config(config)
        for layer in _sublayers(self):
            _apply(layer, config.get("sublayers", {}).get(layer.name, {}))


def _sublayers(layer: keras.layers.Layer) -> list[Any]:
    return layer._flatten_layers(include_self=False, recursive=False)


def _changes(layer: Any) -> Config:
    """Returns what is not as it was made."""
    changes: Config = {}
    if not layer.trainable:
        changes["trainable"] = False
    if getattr(layer, "lora_enabled", False):
        changes["lora"] = {"rank": layer.lora_rank, "lora_alpha": layer.lora_alpha}
    if layer.quantization_mode is not None:
        config = getattr(layer, "quantization_config", None)
        config = keras.saving.serialize_keras_object(config)
        changes["quantize"] = {"mode": layer.quantization_mode, "config": config}
    return changes


def _apply(layer: Any, changes: Config) -> None:
    """Makes the changes, unless the layer came with them from a config of its own."""
    if "quantize" in changes and layer.quantization_mode is None:
        config = keras.saving.deserialize_keras_object(changes["quantize"]["config"])
        layer.quantize(changes["quantize"]["mode"], config=config)
    if "lora" in changes and not layer.lora_enabled:
        layer.enable_lora(**changes["lora"])
    if "trainable" in changes:  # Setting it sets that of all layers inside.
        layer.trainable = False
