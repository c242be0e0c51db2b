"""The abstract alignment."""

import abc

import keras


class Alignment(keras.layers.Layer, abc.ABC):
    """Abstract: weights (B, T, S) from scores (B, T, S) and a mask that broadcasts to them."""

    # Whether the weights of a step depend on those of the step before, so that T has to be 1.
    sequential: bool

    def __init__(self, **kwargs):
        # What comes is in the compute dtype already, but for states, which keep their own.
        super().__init__(autocast=False, **kwargs)
        self.supports_masking = True

    def build(self, scores_shape, query_shape=None):
        self.add_variables(None if query_shape is None else query_shape[-1])

    @abc.abstractmethod
    def add_variables(self, query_width: int | None):
        """Adds the weights, if there are any. The width is None where there is no query."""

    @abc.abstractmethod
    def call(self, scores, mask=None, query=None, state=(), noise=()):
        """Returns the weights, zero where masked, and the next state."""

    @abc.abstractmethod
    def initial_state(self, value):
        """Returns the state before the first step over memory `value` (B, S, D).

        A nest of tensors with the batch first; `()` if steps do not depend on each other.
        """

    @abc.abstractmethod
    def sample_noise(self, shape, training):
        """Returns the noise for scores of `shape` (B, T, S): a tuple of tensors (B, T, ...).

        Empty where nothing is drawn, as at inference.
        """

    def compute_mask(self, scores, previous_mask=None):
        return None  # The mask of the scores says nothing about later axes of the weights.

    def compute_output_shape(self, scores_shape):
        return tuple(scores_shape)

    def get_config(self):
        # Stated here, as Keras infers no config when a dtype policy is among the arguments.
        return dict(super().get_config())
