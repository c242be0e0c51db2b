"""No end before a number of tokens."""

from typing import Any, final

from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.typing import Tensor
from keras_attention.processors.logits import forbid, validate_token


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
        is_end = ops.arange(logits.shape[-1], dtype="int32") == self.end_id
        return forbid(logits, ops.logical_and(is_end, time < self.length))
