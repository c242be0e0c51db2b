"""Logits processors: what a search forbids, forces or discourages, token by token.

A processor is a function `(logits (N, V), tokens (N, T), time) -> logits`, in the list
`processors` of a search. Logits are log p of each token, after the processors before it;
`tokens[:, :time]` are the sequences so far. Rows are ordered by batch entry: with B entries, row n
belongs to entry n // (N / B). What a processor returns is not normalized again: so log p of a
sequence stays that of the model, whatever was forbidden with -inf.
"""

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.typing import Tensor


@final
class MinLength:
    """Forbids the end before `length` tokens.

    Args:
        length: The number of tokens before the end id.
        end_id: The token that ends a sequence.
    """

    def __init__(self, length: int, end_id: int) -> None:
        self.length = validation.non_negative_integer("length", length)
        self.end_id = validation.non_negative_integer("end_id", end_id)

    def __call__(self, logits: Tensor, tokens: Tensor, time: Any) -> Tensor:
        _validate_token("end_id", self.end_id, logits)
        is_end = ops.arange(logits.shape[-1], dtype="int32") == self.end_id
        return _forbid(logits, ops.logical_and(is_end, time < self.length))


@final
class SuppressTokens:
    """Forbids tokens, such as the unknown word.

    Args:
        ids: The tokens.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = [validation.non_negative_integer("ids", token) for token in ids]

    def __call__(self, logits: Tensor, tokens: Tensor, time: Any) -> Tensor:
        _validate_token("ids", max(self.ids, default=0), logits)
        return _forbid(logits, np.isin(np.arange(logits.shape[-1]), self.ids))


@final
class ForcedPrefix:
    """Begins each sequence with given tokens, which count in its log p.

    Args:
        tokens: (B, P), integers.
        lengths: (B,), how many of them are forced. None: all.
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
        return _forbid(logits, ops.logical_not(ops.logical_or(is_free, is_forced)))


@final
class NoRepeatNGram:
    """Forbids each n-gram that a sequence already has (Paulus et al. 2018, section 2.5).

    Args:
        n: The length of the n-grams; 1 forbids every repeated token.

    Reference: Paulus, Xiong, Socher 2018, "A Deep Reinforced Model for Abstractive Summarization",
    arXiv:1705.04304.
    """

    def __init__(self, n: int) -> None:
        self.n = validation.positive_integer("n", n)

    def __call__(self, logits: Tensor, tokens: Tensor, time: Any) -> Tensor:
        starts = tokens.shape[-1] - self.n + 1  # of n-grams
        if starts <= 0:
            return logits
        last = _last_tokens(tokens, time, self.n - 1)
        repeats = ops.arange(starts, dtype="int32")[None] + self.n - 1 < time
        for i in range(self.n - 1):
            repeats = ops.logical_and(repeats, tokens[:, i : i + starts] == last[:, i : i + 1])
        return _lower(logits, tokens[:, self.n - 1 :], -np.inf, repeats)


@final
class RepetitionPenalty:
    """Lowers log p of the tokens that a sequence already has: log p' = penalty log p.

    It is the penalized sampling of Keskar et al. 2019, section 4.1, for logits that are normalized;
    logits above 0, of a processor before, are divided, as in other libraries.

    Args:
        penalty: At least 1, which changes nothing; the paper's is 1.2.

    Reference: Keskar et al. 2019, "CTRL: A Conditional Transformer Language Model for Controllable
    Generation", arXiv:1909.05858.
    """

    def __init__(self, penalty: float) -> None:
        self.penalty = validation.at_least("penalty", penalty, 1)

    def __call__(self, logits: Tensor, tokens: Tensor, time: Any) -> Tensor:
        old = ops.take_along_axis(logits, tokens, axis=1)
        new = ops.where(old < 0, old * self.penalty, old / self.penalty)
        return _lower(logits, tokens, new, ops.arange(tokens.shape[-1], dtype="int32") < time)


@final
class BadWords:
    """Forbids sequences of tokens, wherever they would stand.

    Args:
        sequences: A list of lists of tokens, each of one or more.
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
        _validate_token("sequences", max(map(max, self.sequences)), logits)
        longest = max(map(len, self.sequences)) - 1
        any_token = -2  # in front of a shorter one; -1 is before the first token
        before = np.full((len(self.sequences), longest), any_token)
        for row, (*start, _) in zip(before, self.sequences, strict=True):
            row[longest - len(start) :] = start
        last = _last_tokens(tokens, time, longest)[:, None]  # (N, 1, L)
        matches = ops.logical_or(before == any_token, last == ops.cast(before, "int32"))
        matches = ops.all(matches, axis=-1)  # (N, W)
        ends = ops.cast([sequence[-1] for sequence in self.sequences], "int32")
        return _lower(logits, ops.broadcast_to(ends, ops.shape(matches)), -np.inf, matches)


def validate_processors(processors: Any) -> tuple[Callable, ...]:
    """Returns a list of functions as a tuple."""
    if not isinstance(processors, list | tuple) or not all(map(callable, processors)):
        raise ValueError(f"`processors` is {processors!r}; expected a list of functions.")
    return tuple(processors)


def process(processors: Sequence[Callable], logits: Tensor, tokens: Tensor, time: Any) -> Tensor:
    """Returns logits (N, V), normalized, as the processors leave them."""
    for processor in processors:
        before, logits = logits, processor(logits, tokens, time)
        if not validation.shapes_match(getattr(logits, "shape", ()), before.shape):
            raise ValueError(
                f"`processors` has {processor!r}, which returned "
                f"{getattr(logits, 'shape', logits)}; expected logits of shape {before.shape}."
            )
    return logits


def _validate_token(argument: str, token: int, logits: Tensor) -> None:
    if token >= logits.shape[-1]:
        raise ValueError(
            f"`{argument}` has the token {token}; expected tokens below {logits.shape[-1]}."
        )


def _forbid(logits: Tensor, where: Any) -> Tensor:
    return ops.where(where, -np.inf, logits)


def _last_tokens(tokens: Tensor, time: Any, count: int) -> Tensor:
    """Returns the `count` tokens before `time`, (N, count); -1 before the first."""
    at = ops.arange(count, dtype="int32") + time - count
    return ops.where(at < 0, -1, ops.take(tokens, ops.maximum(at, 0), axis=1))


def _lower(logits: Tensor, tokens: Tensor, values: Any, where: Tensor) -> Tensor:
    """Lowers the logits (N, V) of tokens (N, M) to `values`, where (N, M) it holds."""
    values = ops.broadcast_to(ops.where(where, values, np.inf), ops.shape(tokens))
    rows = ops.arange(ops.shape(tokens)[0], dtype="int32")[:, None] + ops.zeros_like(tokens)
    indices = ops.reshape(ops.stack([rows, tokens], axis=-1), (-1, 2))
    values = ops.cast(ops.reshape(values, (-1,)), logits.dtype)
    return ops.scatter_update(logits, indices, values, reduction="min")
