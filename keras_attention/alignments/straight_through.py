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
    """Puts all weight on one position, sampled in training, with the gradients of a softmax.

        forward:   a_t = one_hot(argmax_s(e_ts + g_ts)),  g_ts ~ Gumbel(0, 1)       (eq. 1)
        backward:  the gradient of softmax((e_t + g_t) / temperature)     (eq. 2; section 2.2)

    It samples in training and chooses the most probable position at inference, as
    `ka.alignments.Hard` does. Here, however, the scores learn by backpropagation from the loss of
    the model alone. The gradient is biased: it is that of the soft weights, not of the sample in
    the forward pass, so it measures the effect of small changes of the context, not that of
    choosing another position. It has less variance than the gradient of `ka.losses.reinforce`
    without expected weights, which is unbiased. A low temperature brings the softmax closer to the
    sample, but raises the variance.

    Args:
        temperature: Temperature of the softmax, above 0.
        seed: Seed of the samples.

    Masking: masked positions are never sampled. A row that allows none gets zero weights.

    Raises:
        ValueError: If `temperature` is not above 0.

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
