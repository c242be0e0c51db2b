"""Which continuations of its sequences a beam search goes on with."""

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from keras_attention._ops.largest import largest
from keras_attention.processors.process import process
from keras_attention.search.loop import fill_id


class Options(NamedTuple):
    """The arguments of `beam`, which one step needs."""

    end_id: int | None
    max_length: int
    beam_width: int
    n_best: int
    length_penalty_weight: float
    coverage_penalty_weight: float
    processors: tuple[Callable, ...]


def select(time: Any, logits: Any, beams: dict, options: Options, costs: Any = None) -> tuple:
    """Selects the K best continuations of sequences (B, K), by the logits (B K, V) of their tokens.

    A sequence's penalty is the same for all tokens but the end id, so few candidates suffice: its
    most probable tokens, K of which are not the end id, and the end id, which comes last. A
    sequence whose logits have a NaN has no continuation. `costs` (B, V) of tokens count in the
    selection only.

    Returns:
        Scores, log-probabilities, the sequences that are continued, and tokens, all (B, K); and
        where there was a NaN, (B,).
    """
    end_id, beam_width = options.end_id, options.beam_width
    finished = beams["finished"][:, :, None]  # (B, K, 1)
    batch_size, rows = ops.shape(finished)[0], finished.shape[1]
    logits = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    is_nan = ops.isnan(logits[:, :1])  # (B K, 1); and so is the whole row
    so_far = ops.reshape(beams["tokens"], (-1, options.max_length))
    logits = process(options.processors, logits, so_far, time)
    costs = None if costs is None else ops.repeat(costs, rows, axis=0)  # (B K, V)
    ranked = logits if costs is None else logits - costs
    _, tokens = largest(ranked, min(beam_width + 1, logits.shape[-1]))
    is_again: Any = False
    if end_id is not None:
        is_again = ops.pad(tokens == end_id, [[0, 0], [0, 1]])
        tokens = ops.pad(tokens, [[0, 0], [0, 1]], constant_values=end_id)  # (B K, C)
    count = tokens.shape[-1]
    shape = (batch_size, rows, count)
    candidates = ops.take_along_axis(logits, tokens, axis=1)
    candidates = ops.where(ops.logical_or(is_nan, is_again), -float("inf"), candidates)
    candidates = ops.reshape(candidates, shape)  # (B, K, C)
    # A finished sequence has one continuation: another end id, with log-probability 0.
    is_last = ops.arange(count, dtype="int32") == count - 1
    end_only = ops.where(is_last, ops.zeros((count,), "float32"), -float("inf"))
    candidates = ops.where(finished, end_only, candidates) + beams["log_probs"][:, :, None]
    ends = ops.logical_or(finished, is_last if end_id is not None else False)
    lengths = beams["lengths"][:, :, None] + ops.cast(ops.logical_not(ends), "int32")

    def rank(log_probs: Any) -> Any:
        return penalized_scores(log_probs, lengths, beams["coverage"], beams["finished"], options)

    scores = ranked = rank(candidates)
    if costs is not None:
        of_tokens = ops.reshape(ops.take_along_axis(costs, tokens, axis=1), shape)
        ranked = rank(candidates - ops.where(finished, 0.0, of_tokens))
    missing = max(0, beam_width - rows * count)  # of a vocabulary smaller than the beam

    def flat(parts: Any, value: Any) -> Any:
        parts = ops.reshape(parts, (batch_size, rows * count))
        return ops.pad(parts, [[0, 0], [0, missing]], constant_values=value) if missing else parts

    _, indices = ops.top_k(flat(ranked, -float("inf")), beam_width)  # (B, K)
    indices = ops.cast(indices, "int32")
    scores, log_probs, tokens = (
        ops.take_along_axis(flat(parts, value), indices, axis=1)
        for parts, value in (
            (scores, -float("inf")),
            (candidates, -float("inf")),
            (tokens, fill_id(end_id)),
        )
    )
    living = ops.logical_and(ops.logical_not(beams["finished"]), beams["log_probs"] > -float("inf"))
    has_nan = ops.logical_and(ops.reshape(is_nan, (batch_size, rows)), living)
    parents = ops.minimum(indices // count, rows - 1)
    return scores, log_probs, parents, tokens, ops.any(has_nan, axis=1)


def penalized_scores(
    log_probs: Any, lengths: Any, coverage: Any, finished: Any, options: Options
) -> Any:
    """Returns s(Y) of candidates (B, K, C), by the coverage (B, K, S) of their sequences (B, K)."""
    scores = log_probs
    if options.length_penalty_weight:
        scores = scores / length_penalty(lengths, options.length_penalty_weight)
    if options.coverage_penalty_weight:
        covered = ops.where(coverage == 0, 1.0, ops.minimum(coverage, 1.0))  # (B, K, S)
        penalty = ops.where(finished, ops.sum(ops.log(covered), axis=-1), 0.0)
        scores = scores + options.coverage_penalty_weight * penalty[:, :, None]
    # Also where a NaN in the attention came with the logits that ended the sequence.
    return ops.where(log_probs == -float("inf"), log_probs, scores)


def length_penalty(lengths: Any, weight: float) -> Any:
    return ((5.0 + ops.cast(lengths, "float32")) / 6.0) ** weight
