"""Scheduled sampling: some training steps read the model's own prediction."""

from collections.abc import Callable
from typing import Any, final

import keras
from keras import ops

from keras_attention.decoders.feedback import choose_steps


@final
class ScheduledSampler:
    """Feeds back samples of the model's predictions: the `feedback` of a decoder in training.

        y_{t-1} of the target                  with probability 1 - p
        y_{t-1} ~ softmax(logits_{t-1})        with probability p

    No gradient flows through the samples.

    Args:
        embed: A function from tokens (B,) to vectors (B, Din).
        apply_head: A function from a decoder's outputs (B, O) to logits (B, V).
        probability: p.
        seed_generator: A `keras.random.SeedGenerator`.

    Reference: Bengio, Vinyals, Jaitly, Shazeer 2015, "Scheduled Sampling for Sequence Prediction
    with Recurrent Neural Networks", arXiv:1506.03099, section 2.4.
    """

    def __init__(
        self, embed: Callable, apply_head: Callable, probability: Any, seed_generator: Any
    ) -> None:
        self.embed = embed
        self.apply_head = apply_head
        self.probability = probability
        self.seed_generator = seed_generator

    def sample_noise(self, inputs: Any) -> dict:
        chosen = choose_steps(inputs, self.probability, self.seed_generator)
        uniforms = keras.random.uniform(
            ops.shape(chosen), dtype="float32", seed=self.seed_generator
        )
        return {"use_prediction": ops.cast(chosen, inputs.dtype), "uniforms": uniforms}

    def next_inputs(self, inputs: Any, last_output: Any, noise: dict) -> Any:
        logits = ops.cast(self.apply_head(ops.stop_gradient(last_output)), "float32")
        cdf = ops.cumsum(ops.softmax(logits), axis=-1)
        token_ids = ops.sum(ops.cast(cdf <= noise["uniforms"], "int32"), axis=-1)
        sampled = self.embed(ops.minimum(token_ids, logits.shape[-1] - 1))
        return ops.where(noise["use_prediction"] > 0, ops.cast(sampled, inputs.dtype), inputs)
