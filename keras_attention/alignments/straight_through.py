"""Straight-through Gumbel-softmax: a sample with the gradient of a softmax."""

from typing import Any, final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention._internal.typing import Config, Shape, Tensor
from keras_attention.alignments.sampling import SampledAlignment, gumbel_noise, one_hot_argmax


@final
@keras.saving.register_keras_serializable("keras_attention")
class StraightThrough(SampledAlignment):
    """All weight on one position, sampled in training; gradients of the softmax.

        forward:   a_t = one_hot(argmax_s(e_ts + g_ts)),  g_ts ~ Gumbel(0, 1)       (eq. 1)
        backward:  that of softmax((e_t + g_t) / temperature)             (eq. 2; section 2.2)

    It samples, and chooses at inference, as `ka.alignments.Hard` does, but the scores learn by
    backpropagation, from the loss of the model alone. The gradient is biased: it is that of the
    soft weights, not of the sample used in the forward pass, so it measures small moves of the
    context rather than choosing another position. It has less variance than `ka.losses.reinforce`
    without expected weights, whose gradient is unbiased. A low temperature brings the softmax
    nearer to the sample, and raises the variance.

    Args:
        temperature: Above 0.
        seed: Seed of the samples.

    Masking: masked positions are never sampled; a row that allows none gets zero weights.

    Example:

    >>> weights, _ = ka.alignments.StraightThrough()(np.array([[[1.0, 3.0, 2.0]]]))
    >>> np.array(weights)[0, 0].tolist()
    [0.0, 1.0, 0.0]

    Reference: Jang, Gu, Poole 2017, "Categorical Reparameterization with Gumbel-Softmax",
    arXiv:1611.01144, section 2.2.
    """

    names = ("straight_through",)

    def __init__(self, temperature: float = 1.0, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.temperature = validation.positive("temperature", temperature)

    def call(
        self,
        scores: Tensor,
        mask: Tensor = None,
        query: Tensor = None,
        state: Any = (),
        noise: Any = (),
    ) -> tuple[Tensor, Any]:
        energies = masks.mask_scores(scores, mask)
        if not len(noise):
            return ops.cast(one_hot_argmax(energies, mask), scores.dtype), state
        energies = energies + ops.cast(noise[0], energies.dtype)
        soft = masks.masked_softmax(energies / self.temperature, mask)
        # In this order the value is exactly the sample.
        weights = one_hot_argmax(energies, mask) + (soft - ops.stop_gradient(soft))
        return ops.cast(weights, scores.dtype), state

    def sample_noise(self, shape: Shape, training: bool | None) -> tuple[Tensor, ...]:
        if not training:
            return ()
        return (gumbel_noise(shape, self.seed_generator, self.compute_dtype),)

    def get_config(self) -> Config:
        return {**super().get_config(), "temperature": self.temperature}
