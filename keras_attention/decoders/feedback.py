"""What a decoder reads at each step in place of the given inputs: its own outputs.

A feedback has `sample_noise(inputs)`, called once before the loop, and `next_inputs(inputs,
last_output, noise)`, called in each step: see `AttentionDecoder.decode`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention._internal.one_step import call_on_step
from keras_attention._internal.typing import Tensor


class Unrolled(NamedTuple):
    """The result of `unroll`.

    Attributes:
        outputs: (B, T, O); zero after the stop.
        attention: (B, T, S), the attention weights, or (B, T, H, W); zero after the stop.
        lengths: (B,), int32: the number of steps, that of the stop included.
        state: The state after step T.
    """

    outputs: Any
    attention: Any
    lengths: Any
    state: dict


@final
class OutputFeedback:
    """Outputs that are numbers, fed back.

        x_t = feed(o_{t-1})          with probability p; always without one
        x_t = the given input        otherwise, and at the first step

    Gradients flow through the outputs.

    Args:
        feed: Function of outputs (B, O) to inputs (B, Din), a layer of such sequences, or a list of
            these, one after the other; None for outputs as they are.
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
    """Returns a mask (B, T, 1) of the steps that read the output of the step before.

    All but the first, or each of these with `probability`.
    """
    shape = (*ops.shape(inputs)[:2], 1)
    not_first = ops.arange(shape[1], dtype="int32")[None, :, None] > 0
    if probability is None:
        return ops.broadcast_to(not_first, shape)
    chances = keras.random.uniform(shape, dtype="float32", seed=seed_generator)
    return ops.logical_and(chances < ops.cast(probability, "float32"), not_first)


def stop_after(stop: Callable | None, outputs: Tensor, attention: Tensor, state: dict) -> Unrolled:
    """Returns the steps up to the first one for which `stop(outputs)`, (B, T) or (B, T, 1), holds.

    All steps without a `stop`.
    """
    batch_size, steps = ops.shape(outputs)[:2]
    if stop is None:
        lengths = ops.broadcast_to(ops.cast(steps, "int32"), (batch_size,))
        return Unrolled(outputs, attention, lengths, state)
    stops = ops.convert_to_tensor(stop(outputs))
    dtype = keras.backend.standardize_dtype(stops.dtype)
    if dtype != "bool" or not any(
        validation.shapes_match(stops.shape, (*outputs.shape[:2], *rest)) for rest in ((), (1,))
    ):
        raise ValueError(
            f"`stop` returned {dtype} of shape {tuple(stops.shape)}; expected booleans of shape "
            f"{tuple(outputs.shape[:2])}, (batch, steps)."
        )
    stops = ops.cast(ops.reshape(stops, (batch_size, steps)), "int32")
    running = ops.cumsum(stops, axis=1) - stops == 0  # (B, T)
    return Unrolled(
        masks.zero_masked(outputs, running),
        masks.zero_masked(attention, running),
        ops.sum(ops.cast(running, "int32"), axis=1),
        state,
    )
