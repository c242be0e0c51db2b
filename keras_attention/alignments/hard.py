"""Hard alignment: one position per step, sampled in training, and the sums for REINFORCE."""

from typing import Any, final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.typing import Config, Shape, Tensor
from keras_attention.alignments.sampling import SampledAlignment, gumbel_noise, one_hot_argmax


@final
@keras.saving.register_keras_serializable("keras_attention")
class Hard(SampledAlignment):
    """Puts all weight on one position: a sample in training, the most probable one at inference.

        alpha_t = softmax(e_t),  p(s_ti = 1) = alpha_ti                 (Xu 2015, eq. 5, 8)

    In training, some batch entries get the expected weights alpha in all their steps instead of
    samples, which lowers the variance (section 4.1). Gradients reach the scores through alpha, but
    not through samples. `ka.losses.reinforce` trains the scores from the samples.

    That loss takes the state of the alignment. In training, the state holds two sums over the
    steps, that of log alpha at the sampled position and that of the entropy of alpha. Gradients
    reach the scores through both:

        {"log_prob": sum_t log alpha_t,s_t, "entropy": sum_t H[alpha_t]}, both (B, 1)

    A step that may not attend to any position adds nothing to either sum. A step with the expected
    weights adds nothing to "log_prob". The sums are in at least float32, and are zero at inference.

    Args:
        expected_probability: The probability that a batch entry gets the expected weights in
            training. The paper uses 0.5; with 0 there are only samples.
        seed: Seed of the samples.

    Masking: masked positions are never sampled. A row that allows none gets zero weights.

    Raises:
        ValueError: If `expected_probability` is not in [0, 1].

    Example:

    >>> weights, _ = ka.alignments.Hard()(np.array([[[1.0, 3.0, 2.0]]]))
    >>> np.array(weights)[0, 0].tolist()
    [0.0, 1.0, 0.0]

    Reference: Xu et al. 2015, "Show, Attend and Tell", arXiv:1502.03044, section 4.1.
    """

    names = ("hard",)

    def __init__(
        self, expected_probability: float = 0.5, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, **kwargs)
        self.expected_probability = validation.probability(
            "expected_probability", expected_probability
        )

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
        sample = one_hot_argmax(energies + ops.cast(noise[0], energies.dtype), mask)
        log_alpha = _log_softmax(energies, mask)
        expected = masks.masked_softmax(energies, mask)
        entropy = -ops.sum(expected * log_alpha, axis=-1)  # (B, T)
        log_prob = ops.sum(sample * log_alpha, axis=-1)
        weights = sample
        if len(noise) > 1:  # (B, T, 1), 1 for the expected weights
            weights = ops.where(noise[1] > 0, expected, sample)
            log_prob = ops.where(noise[1][:, :, 0] > 0, 0.0, log_prob)
        if len(state):
            step_terms = {"log_prob": log_prob, "entropy": entropy}
            state = {k: state[k] + _sum_over_steps(x, state[k]) for k, x in step_terms.items()}
        return ops.cast(weights, scores.dtype), state

    def initial_state(self, value: Tensor) -> dict[str, Tensor]:
        dtype = at_least_float32(self.compute_dtype)
        shape = (ops.shape(value)[0], 1)
        return {"log_prob": ops.zeros(shape, dtype), "entropy": ops.zeros(shape, dtype)}

    def sample_noise(self, shape: Shape, training: bool | None) -> tuple[Tensor, ...]:
        if not training:
            return ()
        noise = gumbel_noise(shape, self.seed_generator, self.compute_dtype)
        if not self.expected_probability:
            return (noise,)
        batch, steps, _ = shape
        chance = keras.random.uniform((batch, 1, 1), dtype="float32", seed=self.seed_generator)
        expected = ops.cast(chance < self.expected_probability, self.compute_dtype)
        return noise, ops.tile(expected, (1, steps, 1))  # one choice for all steps of a sequence

    def get_config(self) -> Config:
        return {**super().get_config(), "expected_probability": self.expected_probability}


def _log_softmax(energies: Tensor, mask: Tensor) -> Tensor:
    """The log of the softmax, but 0 where masked, so that it is finite."""
    log_alpha = ops.log_softmax(energies, axis=-1)
    return log_alpha if mask is None else ops.where(ops.cast(mask, "bool"), log_alpha, 0.0)


def _sum_over_steps(steps: Tensor, like: Tensor) -> Tensor:
    """Returns the sum (B, 1) of `steps` (B, T), in the dtype of `like`."""
    return ops.cast(ops.sum(steps, axis=1, keepdims=True), like.dtype)
