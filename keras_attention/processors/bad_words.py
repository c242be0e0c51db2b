"""Sequences of tokens that never come."""

import math
from collections.abc import Sequence
from typing import Any, final

from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.typing import Tensor
from keras_attention.processors.logits import last_tokens, lower, validate_token


@final
class BadWords:
    """Forbids sequences of tokens, wherever they would stand.

    Args:
        sequences: A list of lists of tokens, each of one or more.

    Example:

    >>> logits, tokens = np.zeros((1, 3), "float32"), np.array([[0, 1, 0, 0]])
    >>> np.array(ka.processors.BadWords([[2], [0, 1, 0]])(logits, tokens, 2)).tolist()
    [[-inf, 0.0, -inf]]
    """

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self.sequences = [
            [validation.non_negative_integer("sequences", token) for token in sequence]
            for sequence in sequences
        ]
        if not all(self.sequences):
            raise ValueError("`sequences` has an empty one; expected one or more tokens in each.")

    def __call__(self, logits: Tensor, tokens: Tensor, time: Any) -> Tensor:
        if not self.sequences:
            return logits
        validate_token("sequences", max(map(max, self.sequences)), logits)
        longest = max(map(len, self.sequences)) - 1
        any_token = -2  # in front of a shorter one; -1 is before the first token
        before = ops.cast(
            [[any_token] * (longest + 1 - len(each)) + each[:-1] for each in self.sequences],
            "int32",
        )  # (W, L)
        last = last_tokens(tokens, time, longest)[:, None]  # (N, 1, L)
        matches = ops.logical_or(before == any_token, last == before)
        matches = ops.all(matches, axis=-1)  # (N, W)
        ends = ops.cast([sequence[-1] for sequence in self.sequences], "int32")
        return lower(logits, ops.broadcast_to(ends, ops.shape(matches)), -math.inf, matches)
