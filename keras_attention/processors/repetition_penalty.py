"""Less of what was there before."""

from typing import Any, final

from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.typing import Tensor
from keras_attention.processors.logits import lower


@final
class RepetitionPenalty:
    """Lowers log p of the tokens that a sequence already has: log p' = penalty log p.

    It is the penalized sampling of Keskar et al. 2019, section 4.1, for logits that are normalized;
    logits above 0, of a processor before, are divided, as in other libraries.

    Args:
        penalty: At least 1, which changes nothing; the paper's is 1.2.

    Example:

    >>> logits, tokens = -np.ones((1, 3), "float32"), np.array([[0, 1, 2, 2]])
    >>> np.array(ka.processors.RepetitionPenalty(1.5)(logits, tokens, 2)).tolist()
    [[-1.5, -1.5, -1.0]]

    Reference: Keskar et al. 2019, "CTRL: A Conditional Transformer Language Model for Controllable
    Generation", arXiv:1909.05858.
    """

    def __init__(self, penalty: float) -> None:
        self.penalty = validation.at_least("penalty", penalty, 1)

    def __call__(self, logits: Tensor, tokens: Tensor, time: Any) -> Tensor:
        old = ops.take_along_axis(logits, tokens, axis=1)
        new = ops.where(old < 0, old * self.penalty, old / self.penalty)
        return lower(logits, tokens, new, ops.arange(tokens.shape[-1], dtype="int32") < time)
