"""Hard alignment: one position a step, drawn in training."""

from typing import final

import keras
from keras import ops

from keras_attention import masks
from keras_attention.alignments.alignment import Alignment


@final
@keras.saving.register_keras_serializable("keras_attention")
class Hard(Alignment):
    """All weight on one position, drawn from the softmax in training, the likeliest at inference.

        p(s_ti = 1) = softmax(e_t)_i                                    (Xu 2015, eq. 8)

    The draw takes the largest of e_ti plus Gumbel noise. No gradient passes to the scores: what
    they learn from is a loss of its own, such as REINFORCE.

    Args:
        seed: Seed of the draws.

    Masking: masked positions are never drawn; a row that allows none gets zero weights.

    Example:

    >>> weights, _ = ka.alignments.Hard()(np.array([[[1.0, 3.0, 2.0]]]))
    >>> np.array(weights)[0, 0].tolist()
    [0.0, 1.0, 0.0]

    Reference: Xu et al. 2015, "Show, Attend and Tell", arXiv:1502.03044, section 4.1.
    """

    stepwise = False

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def add_alignment_weights(self, query_width):
        pass

    def call(self, scores, mask=None, query=None, state=(), noise=()):
        energies = masks.hidden(scores)
        for drawn in noise:
            energies = energies + ops.cast(drawn, energies.dtype)
        energies = masks.hidden(energies, mask)
        # The first of the largest. Keras's argmax has no counterpart in ONNX and LiteRT.
        largest = ops.cast(energies >= ops.max(energies, axis=-1, keepdims=True), "float32")
        first = largest * ops.cast(ops.cumsum(largest, axis=-1) < 1.5, "float32")
        weights = ops.cast(first, scores.dtype)
        if mask is not None:
            weights = ops.where(ops.cast(mask, "bool"), weights, 0)
        return ops.stop_gradient(weights), state

    def initial_state(self, value):
        return ()

    def draw_noise(self, shape, training):
        if not training:
            return ()
        # Away from 0 and 1, whose logarithms are no numbers.
        uniform = keras.random.uniform(
            shape, 1e-7, 1 - 1e-7, dtype="float32", seed=self.seed_generator
        )
        return (ops.cast(-ops.log(-ops.log(uniform)), self.compute_dtype),)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}
