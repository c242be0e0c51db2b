"""Tokens that never come."""

from collections.abc import Sequence
from typing import Any, final

from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.typing import Tensor
from keras_attention.processors.logits import forbid, validate_token


@final
class SuppressTokens:
    """Forbids tokens, such as the unknown word.

    Args:
        ids: The tokens.

    Example:

    >>> logits, tokens = np.zeros((1, 3), "float32"), np.zeros((1, 4), "int32")
    >>> np.array(ka.processors.SuppressTokens([0, 1])(logits, tokens, 0)).tolist()
    [[-inf, -inf, 0.0]]
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = [validation.non_negative_integer("ids", token) for token in ids]

    def __call__(self, logits: Tensor, tokens: Tensor, time: Any) -> Tensor:
        validate_token("ids", max(self.ids, default=0), logits)
        words = ops.arange(logits.shape[-1], dtype="int32")
        return forbid(logits, ops.any(words[:, None] == ops.cast(self.ids, "int32"), axis=-1))
