"""Straight-through Gumbel-softmax: a draw that passes the gradient of a softmax."""

from typing import final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention.alignments.sampling import SampledAlignment, gumbel_noise, largest


@final
@keras.saving.register_keras_serializable("keras_attention")
class StraightThrough(SampledAlignment):
    """All weight on one position, drawn in training; gradients as if the draw were soft.

        forward:   a_t = one_hot(argmax_s(e_ts + g_ts)),  g_ts ~ Gumbel(0, 1)       (eq. 1)
        backward:  that of softmax((e_t + g_t) / temperature)             (eq. 2; section 2.2)

    The draws are those of `ka.alignments.Hard`, and so is the likeliest position at inference, but
    the scores learn by backpropagation, from the loss of the model alone. The gradient is biased:
    it is that of weights which the model did not use, and asks how the loss would change if the
    context moved a little towards other values, not if it became another one. It has less variance
    than `ka.losses.reinforce` without the mix, whose gradient is unbiased. A low temperature brings
    the softmax near the draw, and the variance up.

    Args:
        temperature: Above 0.
        seed: Seed of the draws.

    Masking: masked positions are never drawn; a row that allows none gets zero weights.

    Example:

    >>> weights, _ = ka.alignments.StraightThrough()(np.array([[[1.0, 3.0, 2.0]]]))
    >>> np.array(weights)[0, 0].tolist()
    [0.0, 1.0, 0.0]

    Reference: Jang, Gu, Poole 2017, "Categorical Reparameterization with Gumbel-Softmax",
    arXiv:1611.01144, section 2.2.
    """

    def __init__(self, temperature=1.0, seed=None, **kwargs):
        super().__init__(seed, **kwargs)
        self.temperature = validation.not_negative("temperature", temperature)
        if self.temperature == 0:
            raise ValueError("`temperature` is 0; expected a number above 0: it divides.")

    def call(self, scores, mask=None, query=None, state=(), noise=()):
        energies = masks.mask_scores(scores, mask)
        if not len(noise):
            return ops.cast(largest(energies, mask), scores.dtype), state
        energies = energies + ops.cast(noise[0], energies.dtype)
        soft = masks.masked_softmax(energies / self.temperature, mask)
        # In this order it is exactly the draw.
        weights = largest(energies, mask) + (soft - ops.stop_gradient(soft))
        return ops.cast(weights, scores.dtype), state

    def initial_state(self, value):
        return ()

    def sample_noise(self, shape, training):
        if not training:
            return ()
        return (gumbel_noise(shape, self.seed_generator, self.compute_dtype),)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}
