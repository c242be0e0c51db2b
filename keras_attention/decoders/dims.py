"""The sizes of a decoder: those inside it, those of its inputs and those of its memory."""

from typing import Any, NamedTuple

import keras

from keras_attention._internal import validation


class DecoderDims(NamedTuple):
    """The sizes inside a decoder.

    Attributes:
        extra_input: Size of the context or attentional vector that is concatenated to the cell's
            input; 0 for none.
        query: Size of the queries.
        output: Size of the outputs, O.
    """

    extra_input: int
    query: int
    output: int


def memory_shapes(memory: Any) -> Any:
    """Returns the shape of a memory, or the shapes of a list of memories."""
    return keras.tree.map_structure(lambda part: tuple(part.shape), memory)


def validate_inputs(inputs_shape: Any, memory_shape: Any) -> None:
    """Checks that the inputs are a sequence with as many examples as the memory."""
    validation.rank("inputs", inputs_shape, "(batch, steps, width)")
    for shape in memory_shape if isinstance(memory_shape[0], (list, tuple)) else [memory_shape]:
        validation.equal("inputs", inputs_shape[0], "memory", shape[0], "batch size")
