"""What processors share: to forbid tokens, to look back, to lower logits of tokens."""

import math
from typing import Any

from keras import ops

from keras_attention._internal.typing import Tensor


def validate_token(argument: str, token: int, logits: Tensor) -> None:
    """Checks that a token has a logit."""
    if not 0 <= token < logits.shape[-1]:
        raise ValueError(
            f"`{argument}` has the token {token}; expected tokens from 0, below {logits.shape[-1]}."
        )


def known_rows(tokens: Any) -> list:
    """Returns tokens (B, T) as lists; of a tensor, whose numbers would have to be awaited, none."""
    return [] if ops.is_tensor(tokens) else ops.convert_to_numpy(tokens).tolist()


def forbid(logits: Tensor, where: Any) -> Tensor:
    """Sets logits to -inf, where it holds."""
    return ops.where(where, -math.inf, logits)


def last_tokens(tokens: Tensor, time: Any, count: int) -> Tensor:
    """Returns the `count` tokens before `time`, (N, count); -1 before the first."""
    at = ops.arange(count, dtype="int32") + time - count
    return ops.where(at < 0, -1, ops.take(ops.cast(tokens, "int32"), ops.maximum(at, 0), axis=1))


def lower(logits: Tensor, tokens: Tensor, values: Any, where: Any) -> Tensor:
    """Lowers the logits (N, V) of tokens (N, M) to `values`, where (N, M) it holds."""
    tokens = ops.cast(tokens, "int32")
    values = ops.broadcast_to(ops.where(where, values, math.inf), ops.shape(tokens))
    rows = ops.arange(ops.shape(tokens)[0], dtype="int32")[:, None] + ops.zeros_like(tokens)
    indices = ops.reshape(ops.stack([rows, tokens], axis=-1), (-1, 2))
    values = ops.cast(ops.reshape(values, (-1,)), logits.dtype)
    return ops.scatter_update(logits, indices, values, reduction="min")
