"""Given first tokens."""

from typing import Any, final

from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.typing import Tensor
from keras_attention.processors.logits import forbid


@final
class ForcedPrefix:
    """Begins each sequence with given tokens, which count in its log p.

    Args:
        tokens: (B, P), integers.
        lengths: (B,), how many of them are forced. None: all.

    Example:

    >>> logits, tokens = np.zeros((1, 3), "float32"), np.zeros((1, 4), "int32")
    >>> np.array(ka.processors.ForcedPrefix([[2, 1]])(logits, tokens, 0)).tolist()
    [[-inf, -inf, 0.0]]
    """

    def __init__(self, tokens: Any, lengths: Any = None) -> None:
        self.tokens = ops.cast(ops.convert_to_tensor(tokens), "int32")
        validation.rank("tokens", self.tokens.shape, "(batch, steps)")
        size = ops.shape(self.tokens)
        given = size[1] if lengths is None else lengths
        self.lengths = ops.broadcast_to(ops.cast(given, "int32"), (size[0],))

    def __call__(self, logits: Tensor, tokens: Tensor, time: Any) -> Tensor:
        batch_size, steps = ops.shape(self.tokens)
        if steps == 0:
            return logits
        if logits.shape[0] and self.tokens.shape[0] and logits.shape[0] % self.tokens.shape[0]:
            raise ValueError(
                f"`tokens` has {self.tokens.shape[0]} rows, and the search {logits.shape[0]}; "
                "expected one row for each batch entry."
            )
        rows = ops.arange(ops.shape(logits)[0], dtype="int32")
        entries = rows // (ops.shape(logits)[0] // batch_size)
        now = ops.take(self.tokens, ops.minimum(time, steps - 1), axis=1)  # (B,)
        forced = ops.take(now, entries, axis=0)[:, None]
        is_free = ops.take(time >= self.lengths, entries, axis=0)[:, None]
        is_forced = ops.arange(logits.shape[-1], dtype="int32") == forced
        return forbid(logits, ops.logical_not(ops.logical_or(is_free, is_forced)))
