"""The abstract alignment."""

import abc
from typing import Any

from keras_attention._internal.part import Part
from keras_attention._internal.typing import Shape, Tensor


class Alignment(Part, abc.ABC):
    """Abstract: turns scores (B, T, S), and a mask that broadcasts to them, into weights (B, T, S).

    An alignment of your own needs only `call`, which takes all five arguments by these names and
    returns a tuple: the weights, which must be zero where masked, and the next state. One with
    variables adds them in `add_variables(query_dim)`, with `self.add_weight`.

    Example:

    >>> class Uniform(ka.alignments.Alignment):
    ...     def call(self, scores, mask=None, query=None, state=(), noise=()):
    ...         return ka.masks.masked_softmax(keras.ops.zeros_like(scores), mask), state
    >>> attention = ka.Attention("dot", Uniform())
    >>> query, memory = np.ones((1, 1, 7)), np.ones((1, 4, 7))
    >>> _, weights = attention(query, memory, return_attention_scores=True)
    >>> np.array(weights)[0, 0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    # Whether the weights of a step depend on those of the step before, so that T has to be 1.
    sequential = False

    def __init__(self, **kwargs: Any) -> None:
        # The inputs are in the compute dtype already, except for states, which keep their own.
        super().__init__(autocast=False, **kwargs)

    def build(self, scores_shape: Shape, query_shape: Shape | None = None) -> None:
        self.add_variables(None if query_shape is None else query_shape[-1])

    def add_variables(self, query_dim: int | None) -> None:
        """Adds the variables, if any. `query_dim` is None if there is no query."""

    @abc.abstractmethod
    def call(
        self,
        scores: Tensor,
        mask: Tensor = None,
        query: Tensor = None,
        state: Any = (),
        noise: Any = (),
    ) -> tuple[Tensor, Any]:
        """Returns the weights, which are zero where masked, and the next state; `state` if none."""

    def initial_state(self, value: Tensor) -> Any:
        """Returns the state before the first step over a memory `value` (B, S, D).

        It is a nest of tensors with the batch first, or `()` if steps do not depend on each other.
        """
        return ()

    def sample_noise(self, shape: Shape, training: bool | None) -> tuple[Tensor, ...]:
        """Returns the noise for scores of `shape` (B, T, S): a tuple of tensors (B, T, ...).

        The tuple is empty if nothing is sampled, as at inference.
        """
        return ()

    def compute_output_shape(self, scores_shape: Shape) -> tuple:
        return tuple(scores_shape)
