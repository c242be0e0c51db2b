"""Alignments: how scores become weights.

An alignment is a layer: `call(scores, mask, query, state, noise) -> (weights, state)`. Anything
shaped like a softmax is one; the other arguments are there for alignments that look at the query,
remember their last weights, or draw. All that is random is drawn by `draw_noise` before a
decoder's loop, so that a step is a function of its arguments.
"""

import abc
from typing import final

import keras

from keras_attention import identifiers, masks


class Alignment(keras.layers.Layer, abc.ABC):
    """Abstract: weights (B, T, S) from scores (B, T, S) and a mask that broadcasts to them."""

    # Whether the weights of a step depend on those of the step before, so that T has to be 1.
    stepwise = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    @abc.abstractmethod
    def call(self, scores, mask=None, query=None, state=(), noise=()):
        """Returns the weights, zero where masked, and the next state."""

    @abc.abstractmethod
    def initial_state(self, value):
        """Returns the state before the first step over memory `value` (B, S, D).

        A nest of float tensors with the batch first; `()` if steps do not depend on each other.
        """

    @abc.abstractmethod
    def draw_noise(self, shape, training):
        """Returns the noise for scores of `shape` (B, T, S): a tuple of tensors of that shape."""

    def compute_mask(self, scores, previous_mask=None):
        return None  # The mask of the scores says nothing about later axes of the weights.

    def compute_output_shape(self, scores_shape):
        return tuple(scores_shape)

    def get_config(self):
        # Stated here, as Keras infers no config when a dtype policy is among the arguments.
        return dict(super().get_config())


@final
@keras.saving.register_keras_serializable("keras_attention")
class Softmax(Alignment):
    """Global soft attention.

        a_ts = exp(e_ts) / sum_s' exp(e_ts')                            (Bahdanau 2015, eq. 6)

    Masking: the sum runs over the allowed positions; a row that allows none gets zero weights.

    Example:

    >>> weights, _ = ka.alignments.Softmax()(np.zeros((1, 1, 4)), np.array([[[1, 1, 0, 0]]]))
    >>> np.array(weights)[0, 0].tolist()
    [0.5, 0.5, 0.0, 0.0]

    Reference: Bahdanau, Cho, Bengio 2015, arXiv:1409.0473.
    """

    def call(self, scores, mask=None, query=None, state=(), noise=()):
        return masks.masked_softmax(scores, mask), state

    def initial_state(self, value):
        return ()

    def draw_noise(self, shape, training):
        return ()


_BY_NAME = {"softmax": Softmax}


def get(identifier, dtype=None) -> Alignment:
    """Returns the alignment that `identifier` names: a name, a config, or an `Alignment` itself."""
    return identifiers.resolve("alignment", identifier, Alignment, _BY_NAME, dtype)
