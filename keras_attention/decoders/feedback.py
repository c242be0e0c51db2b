"""What a decoder reads at each step instead of the given inputs: its own outputs.

A feedback has two methods: `sample_noise(inputs)`, which is called once before the loop, and
`next_inputs(inputs, last_output, noise)`, which is called in each step. See
`AttentionDecoder.decode`.
"""

from collections.abc import Callable, Sequence
from typing import Any, final

import keras
from keras import ops

from keras_attention._internal.one_step import call_on_step
from keras_attention._internal.typing import Tensor


@final
class OutputFeedback:
    """Feeds back outputs that are numbers.

        x_t = feed(o_{t-1})          with probability p, or always if there is no p
        x_t = the given input        otherwise, and at the first step

    Gradients flow through the outputs.

    Args:
        feed: A function from outputs (B, O) to inputs (B, Din), a layer that maps such sequences,
            or a list of these, applied one after the other. None: the outputs are the inputs.
        probability: p, or None.
        seed_generator: A `keras.random.SeedGenerator` for the choice.
    """

    def __init__(
        self, feed: Callable | Sequence | None, probability: Any = None, seed_generator: Any = None
    ) -> None:
        self.feed = feed
        self.probability = probability
        self.seed_generator = seed_generator

    def sample_noise(self, inputs: Tensor) -> dict[str, Tensor]:
        chosen = choose_steps(inputs, self.probability, self.seed_generator)
        # In the dtype of the inputs, as the loop packs both into one tensor.
        return {"use_output": ops.cast(chosen, inputs.dtype)}

    def next_inputs(self, inputs: Tensor, last_output: Tensor, noise: dict) -> Tensor:
        fed = call_on_step(self.feed or [], last_output)
        if fed.shape[-1] != inputs.shape[-1]:
            raise ValueError(
                f"`feed` is {self.feed!r} and gives inputs of width {fed.shape[-1]}; expected "
                f"{inputs.shape[-1]}, the width of the first input."
            )
        return ops.where(noise["use_output"] > 0, ops.cast(fed, inputs.dtype), inputs)


def choose_steps(inputs: Tensor, probability: Any, seed_generator: Any) -> Tensor:
    """Returns a mask (B, T, 1) of the steps that read the output of the previous step.

    These are all steps but the first, or each of them with `probability`.
    """
    shape = (*ops.shape(inputs)[:2], 1)
    not_first = ops.arange(shape[1], dtype="int32")[None, :, None] > 0
    if probability is None:
        return ops.broadcast_to(not_first, shape)
    chances = keras.random.uniform(shape, dtype="float32", seed=seed_generator)
    return ops.logical_and(chances < ops.cast(probability, "float32"), not_first)
