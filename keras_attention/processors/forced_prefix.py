"""Given first tokens."""

from typing import Any, final

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.typing import Tensor
from keras_attention.processors.logits import forbid, known_rows, validate_token


@final
class ForcedPrefix:
    """Begins each sequence with given tokens, which count in its log p.

    Args:
        tokens: (B, P), integers; or (1, P), for all entries of a batch.
        lengths: How many of them are forced: a number, or one per row. None: all.

    Example:

    >>> logits, tokens = np.zeros((1, 3), "float32"), np.zeros((1, 4), "int32")
    >>> np.array(ka.processors.ForcedPrefix([[2, 1]])(logits, tokens, 0)).tolist()
    [[-inf, -inf, 0.0]]
    """

    def __init__(self, tokens: Any, lengths: Any = None) -> None:
        self.tokens = ops.cast(ops.convert_to_tensor(tokens), "int32")
        validation.rank("tokens", self.tokens.shape, "(batch, steps)")
        size = ops.shape(self.tokens)
        lengths = ops.cast(size[1] if lengths is None else lengths, "int32")
        if len(lengths.shape) and not validation.shapes_match(lengths.shape, self.tokens.shape[:1]):
            raise ValueError(
                f"`lengths` has shape {tuple(lengths.shape)}; expected a number, or as many as "
                f"`tokens` has rows, {self.tokens.shape[0]}."
            )
        self.lengths = ops.broadcast_to(ops.minimum(lengths, size[1]), (size[0],))
        self._largest = max(keras.tree.flatten(known_rows(tokens)), default=0)

    def validate_batch_size(self, batch_size: int) -> None:
        """Checks that there is a row for each entry of a batch, or one for all."""
        if self.tokens.shape[0] not in (None, 1, batch_size):
            raise ValueError(
                f"`tokens` has {self.tokens.shape[0]} rows, and the batch {batch_size}; expected "
                "one row for each batch entry, or one for all."
            )

    def __call__(self, logits: Tensor, tokens: Tensor, time: Any) -> Tensor:
        validate_token("tokens", self._largest, logits)
        batch_size, steps = ops.shape(self.tokens)
        if steps == 0:
            return logits
        if logits.shape[0] and self.tokens.shape[0] and logits.shape[0] % self.tokens.shape[0]:
            self.validate_batch_size(logits.shape[0])
        rows = ops.arange(ops.shape(logits)[0], dtype="int32")
        entries = rows // ops.maximum(ops.shape(logits)[0] // batch_size, 1)
        now = ops.take(self.tokens, ops.minimum(time, steps - 1), axis=1)  # (B,)
        forced = ops.take(now, entries, axis=0)[:, None]
        is_free = ops.take(time >= self.lengths, entries, axis=0)[:, None]
        is_forced = ops.arange(logits.shape[-1], dtype="int32") == forced
        return forbid(logits, ops.logical_not(ops.logical_or(is_free, is_forced)))
