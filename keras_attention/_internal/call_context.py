"""Keras's call context, from which layers read whether they train.

Keras has one while a layer's `__call__` runs. Methods that users call directly, such as `decode`,
need one too: without it a dropout deep in a custom cell never learns that it trains.
"""

from collections.abc import Callable
from typing import Any, final

import keras


def run_as_call(layer: keras.layers.Layer, function: Callable, training: bool | None) -> Any:
    """Returns `function(training)`, run as the call of a layer that owns `layer`.

    If `training` is None, `function` gets that of the outer call, or None.
    """
    with keras.RematScope(mode=None):  # A closure cannot be rematerialized.
        body = _Body(layer, function)
    return body(training=training)


@final
class _Body(keras.layers.Layer):
    def __init__(self, layer: keras.layers.Layer, function: Callable) -> None:
        super().__init__(name="body", dtype=layer.dtype_policy)
        self.layer = layer  # a sublayer, so that the losses of its last call are cleared
        self.function = function
        self.built = True

    def call(self, training: bool | None = None) -> Any:
        return self.function(training)
