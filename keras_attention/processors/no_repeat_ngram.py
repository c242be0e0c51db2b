"""No n-gram twice."""

import math
from typing import Any, final

from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.typing import Tensor
from keras_attention.processors.logits import last_tokens, lower


@final
class NoRepeatNGram:
    """Forbids each n-gram that a sequence already has (Paulus et al. 2018, section 2.5).

    Args:
        n: The length of the n-grams; 1 forbids every repeated token.

    Example:

    >>> logits, tokens = np.zeros((1, 3), "float32"), np.array([[0, 1, 0, 0]])
    >>> np.array(ka.processors.NoRepeatNGram(2)(logits, tokens, 3)).tolist()
    [[0.0, -inf, 0.0]]

    Reference: Paulus, Xiong, Socher 2018, "A Deep Reinforced Model for Abstractive Summarization",
    arXiv:1705.04304.
    """

    def __init__(self, n: int) -> None:
        self.n = validation.positive_integer("n", n)

    def __call__(self, logits: Tensor, tokens: Tensor, time: Any) -> Tensor:
        starts = tokens.shape[-1] - self.n + 1  # of n-grams
        if starts <= 0:
            return logits
        tokens = ops.cast(tokens, "int32")
        last = last_tokens(tokens, time, self.n - 1)
        repeats = ops.arange(starts, dtype="int32")[None] + self.n - 1 < time
        for i in range(self.n - 1):
            repeats = ops.logical_and(repeats, tokens[:, i : i + starts] == last[:, i : i + 1])
        return lower(logits, tokens[:, self.n - 1 :], -math.inf, repeats)
