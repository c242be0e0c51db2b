"""No end before a number of tokens."""

import math
from typing import Any, final

from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.typing import Tensor
from keras_attention.processors.logits import lower, validate_token


@final
class MinLength:
    """Forbids the end before `length` tokens.

    Args:
        length: The number of tokens before the end id.
        end_id: The token that ends a sequence.

    Example:

    >>> logits, tokens = np.zeros((1, 3), "float32"), np.zeros((1, 4), "int32")
    >>> np.array(ka.processors.MinLength(2, end_id=1)(logits, tokens, 0)).tolist()
    [[0.0, -inf, 0.0]]
    """

    def __init__(self, length: int, end_id: int) -> None:
        self.length = validation.non_negative_integer("length", length)
        self.end_id = validation.non_negative_integer("end_id", end_id)

    def __call__(self, logits: Tensor, tokens: Tensor, time: Any) -> Tensor:
        validate_token("end_id", self.end_id, logits)
        end = ops.full((ops.shape(logits)[0], 1), self.end_id, dtype="int32")
        # Not a copy of all logits in the other steps.
        return ops.cond(
            time < self.length, lambda: lower(logits, end, -math.inf, True), lambda: logits
        )
