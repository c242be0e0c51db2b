"""Hard alignment: one position a step, drawn in training, with what REINFORCE needs."""

from typing import final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention.alignments.sampling import SampledAlignment, gumbel_noise, largest


@final
@keras.saving.register_keras_serializable("keras_attention")
class Hard(SampledAlignment):
    """All weight on one position, drawn from the softmax in training, the likeliest at inference.

        alpha_t = softmax(e_t),  p(s_ti = 1) = alpha_ti                 (Xu 2015, eq. 5, 8)

    In training a share of the batch entries gets the expected weights alpha in all their steps
    instead of draws: the paper's way to less variance (section 4.1). Through alpha gradients pass
    to the scores, through a draw none. What scores learn from draws is `ka.losses.reinforce`.

    The state is the sum over the steps in training of log alpha at the drawn place and of the
    entropy of alpha, which that loss takes. Both pass gradients to the scores:

        {"log_prob": sum_t log alpha_t,s_t, "entropy": sum_t H[alpha_t]}, both (B, 1)

    A step that may look nowhere adds nothing to either, one with the expected weights nothing to
    "log_prob". They are sums in at least float32, and zero at inference.

    Args:
        expected_probability: The chance with which a batch entry in training gets the expected
            weights: 0.5 in the paper, 0 for draws alone.
        seed: Seed of the draws.

    Masking: masked positions are never drawn; a row that allows none gets zero weights.

    Example:

    >>> weights, _ = ka.alignments.Hard()(np.array([[[1.0, 3.0, 2.0]]]))
    >>> np.array(weights)[0, 0].tolist()
    [0.0, 1.0, 0.0]

    Reference: Xu et al. 2015, "Show, Attend and Tell", arXiv:1502.03044, section 4.1.
    """

    def __init__(self, expected_probability=0.5, seed=None, **kwargs):
        super().__init__(seed, **kwargs)
        self.expected_probability = validation.probability(
            "expected_probability", expected_probability
        )

    def call(self, scores, mask=None, query=None, state=(), noise=()):
        energies = masks.mask_scores(scores, mask)
        if not len(noise):
            return ops.cast(largest(energies, mask), scores.dtype), state
        drawn = largest(energies + ops.cast(noise[0], energies.dtype), mask)
        logs = _log_softmax(energies, mask)
        expected = masks.masked_softmax(energies, mask)
        entropy = -ops.sum(expected * logs, axis=-1)  # (B, T)
        log_prob = ops.sum(drawn * logs, axis=-1)
        weights = drawn
        if len(noise) > 1:  # (B, T, 1), 1 where the expected weights stand in
            weights = ops.where(noise[1] > 0, expected, drawn)
            log_prob = ops.where(noise[1][:, :, 0] > 0, 0.0, log_prob)
        if len(state):
            added = {"log_prob": log_prob, "entropy": entropy}
            state = {name: state[name] + _total(added[name], state[name]) for name in added}
        return ops.cast(weights, scores.dtype), state

    def initial_state(self, value):
        dtype = keras.backend.result_type(self.compute_dtype, "float32")
        shape = (ops.shape(value)[0], 1)
        return {"log_prob": ops.zeros(shape, dtype), "entropy": ops.zeros(shape, dtype)}

    def sample_noise(self, shape, training):
        if not training:
            return ()
        noise = gumbel_noise(shape, self.seed_generator, self.compute_dtype)
        if not self.expected_probability:
            return (noise,)
        batch, steps, _ = shape
        chance = keras.random.uniform((batch, 1, 1), dtype="float32", seed=self.seed_generator)
        expected = ops.cast(chance < self.expected_probability, self.compute_dtype)
        return noise, ops.tile(expected, (1, steps, 1))  # one choice for all steps of a sequence

    def get_config(self):
        return {**super().get_config(), "expected_probability": self.expected_probability}


def _log_softmax(energies, mask):
    """Finite, and 0 where masked, where a logarithm of the weights would be infinite."""
    logs = ops.log_softmax(energies, axis=-1)
    return logs if mask is None else ops.where(ops.cast(mask, "bool"), logs, 0.0)


def _total(steps, like):
    """(B, 1): the sum of `steps` (B, T), in the dtype of a state."""
    return ops.cast(ops.sum(steps, axis=1, keepdims=True), like.dtype)
