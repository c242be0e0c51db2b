"""Call layers that were made for sequences on one step, as loops do."""

from collections.abc import Callable
from typing import Any

import keras


def call_on_step(layer: Callable, inputs: Any) -> Any:
    """Returns the output (B, O) of a layer of sequences (B, T, D) for one step, (B, D).

    Functions get the step as it is. Dense layers do too, also those of a Sequential: under XLA the
    gradient of their product of rank 3 does not compile in a loop. Other layers get an axis of
    time, for which they were built.
    """
    if isinstance(layer, keras.Sequential):
        for part in layer.layers:
            inputs = call_on_step(part, inputs)
        return inputs
    if type(layer) is keras.layers.Dense or not isinstance(layer, keras.layers.Layer):
        return layer(inputs)
    return layer(inputs[:, None])[:, 0]
