"""The controller of a Neural Turing Machine: a Keras RNN cell, or a layer without a state."""

from typing import Any

import keras

from keras_attention._internal import rnn
from keras_attention._internal.typing import Tensor


def validate_controller(controller: Any) -> keras.layers.Layer:
    """Returns `controller` if it is a cell or a layer of single steps, without dropout."""
    if not isinstance(controller, keras.layers.Layer) or isinstance(controller, keras.layers.RNN):
        raise ValueError(
            f"`controller` is {controller!r}; expected a Keras RNN cell, such as "
            "keras.layers.LSTMCell(100), or a layer of single steps, such as keras.layers.Dense."
        )
    if any(_has_dropout(layer) for layer in controller._flatten_layers()):
        raise ValueError(
            f"`controller` is '{controller.name}', which has dropout; expected one without it, "
            "since keras.layers.RNN samples dropout masks for its own cell only, not for the "
            "controller inside that cell."
        )
    return controller


def controller_state_size(controller: keras.layers.Layer) -> list[Any]:
    """Returns the sizes of the controller's states, in the structure that it is called with."""
    if _is_feed_forward(controller):
        return []
    size = controller.state_size
    return list(size) if keras.tree.is_nested(size) else [size]


def controller_output_dim(controller: keras.layers.Layer) -> int:
    if _is_feed_forward(controller):
        return controller.compute_output_shape((None, 1))[-1]
    return rnn.output_size(controller)


def initial_controller_state(controller: keras.layers.Layer, batch_size: Any) -> list[Tensor]:
    if _is_feed_forward(controller):
        return []
    return rnn.initial_cell_state(controller, batch_size)


def call_controller(
    controller: keras.layers.Layer, inputs: Tensor, state: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Returns the controller's output (B, C) and its next state."""
    if _is_feed_forward(controller):
        return controller(inputs), []
    output, next_state = controller(inputs, state)
    return output, keras.tree.pack_sequence_as(state, keras.tree.flatten(next_state))


def _is_feed_forward(controller: keras.layers.Layer) -> bool:
    return not hasattr(controller, "state_size")


def _has_dropout(layer: keras.layers.Layer) -> bool:
    """Whether the layer is random in training: has a dropout rate, or is a GaussianNoise."""
    rates = [getattr(layer, name, 0) for name in ("rate", "dropout", "recurrent_dropout", "stddev")]
    return any(isinstance(rate, (int, float)) and rate > 0 for rate in rates)
