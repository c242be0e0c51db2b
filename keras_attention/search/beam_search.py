"""Beam search, with the penalties of GNMT."""

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention._ops.largest import largest
from keras_attention._ops.take_per_row import take_per_row
from keras_attention.search.loop import Options, SearchResult, search


def beam(
    step: Callable,
    state: Any,
    start_id: Any,
    end_id: int | None,
    max_length: int,
    beam_width: int,
    length_penalty_weight: float = 0.0,
    coverage_penalty_weight: float = 0.0,
    n_best: int | None = None,
    processors: Sequence[Callable] = (),
) -> SearchResult:
    """Keeps the `beam_width` best sequences at each step, ranked by

        s(Y) = log p(Y) / lp(Y) + cp(Y)
        lp(Y) = ((5 + |Y|) / 6) ** length_penalty_weight
        cp(Y) = coverage_penalty_weight * sum_s log(min(sum_t a_ts, 1))          (GNMT, eq. 14)

    A finished sequence does not change any more. As in TensorFlow Addons, |Y| includes its end id
    from the following step on, and cp applies to finished sequences only, over the memory steps
    with non-zero attention, so that padding costs nothing. The search ends when no other sequence
    can come among the best N any more, as log p only falls with each token. A processor that
    raises log p above 0, or a negative coverage penalty, makes this a guess.

    Args:
        step, state, start_id, end_id, max_length, processors: See `greedy`.
        beam_width: Sequences kept per batch entry.
        length_penalty_weight: 0 for none; larger favors longer sequences.
        coverage_penalty_weight: 0 for none; larger favors attention that covers the memory.
        n_best: Sequences returned, N. Defaults to `beam_width`.

    Reference: Wu et al. 2016, "Google's Neural Machine Translation System", arXiv:1609.08144.
    """
    validation.positive_integer("beam_width", beam_width)
    n_best = beam_width if n_best is None else validation.positive_integer("n_best", n_best)
    if n_best > beam_width:
        raise ValueError(f"`n_best` is {n_best}; expected at most `beam_width`, {beam_width}.")
    validation.finite("coverage_penalty_weight", coverage_penalty_weight)
    penalties = length_penalty_weight, coverage_penalty_weight
    options = Options(end_id, max_length, processors, 1, beam_width, n_best, *penalties)
    return search_beams(step, state, start_id, options, select)


def search_beams(
    step: Callable, state: Any, start_id: Any, options: Options, select: Callable
) -> SearchResult:
    """Returns the best sequences; empty ones where there are fewer, with probability 0."""
    validation.finite("length_penalty_weight", options.length_penalty_weight)
    found = search(step, state, start_id, options, select)
    count = options.groups * options.n_best
    found = SearchResult(*(x if x is None else x[:, :count] for x in found))
    is_one, attention = found.log_probs > -float("inf"), found.attention
    return found._replace(
        tokens=ops.where(is_one[:, :, None], found.tokens, options.end_id or 0),
        lengths=ops.where(is_one, found.lengths, 0),
        attention=attention if attention is None else masks.zero_masked(attention, is_one),
    )


def select(log_probs: Any, time: Any, found: dict, options: Options, costs: Any = None) -> tuple:
    """Selects the K best continuations of sequences (B, R), by log p (B R, V) of their tokens.

    A sequence's penalty is the same for all tokens but the end id, so few candidates suffice: its
    most probable tokens, K of which are not the end id, and the end id, which comes last. A
    sequence whose logits have a NaN has no continuation. `costs` (B R, V) of tokens count in the
    selection only. For what it returns see `search`.
    """
    end_id, width, rows = options.end_id, options.beam_width, found["finished"].shape[1]
    top, tokens = largest(
        log_probs if costs is None else log_probs - costs, min(width + 1, log_probs.shape[-1])
    )
    # The end id; and more columns, if the vocabulary is smaller than the beam.
    words = tokens.shape[-1]
    count = max(words + 1, width)
    tokens = ops.pad(tokens, [[0, 0], [0, count - words]], constant_values=end_id or 0)  # (B R, C)
    columns = ops.arange(count, dtype="int32")
    is_last = columns == count - 1
    is_one = columns < words if end_id is None else ops.logical_or(tokens != end_id, is_last)
    if costs is None:  # `largest` has these values already.
        end = log_probs[:, (end_id or 0), None]
        log_probs = ops.concatenate([top, *[end] * (count - words)], axis=-1)
    else:
        log_probs = take_per_row(log_probs, tokens)
    log_probs = ops.reshape(ops.where(is_one, log_probs, -float("inf")), (-1, rows, count))
    # A finished sequence has one continuation: another end id, with log-probability 0.
    finished = found["finished"][:, :, None]  # (B, R, 1)
    end_only = ops.where(is_last, ops.zeros((count,), "float32"), -float("inf"))
    log_probs = ops.where(finished, end_only, log_probs) + found["log_probs"][:, :, None]
    is_nan = ops.isnan(log_probs)
    log_probs = ops.where(is_nan, -float("inf"), log_probs)  # (B, R, C)
    counts = ops.logical_or(finished, ops.logical_not(is_last))  # in the length
    lengths = found["lengths"][:, :, None] + ops.cast(counts, "int32")
    scores = ranked = _penalized_scores(log_probs, lengths, found, options)
    if costs is not None:
        costs = ops.reshape(take_per_row(costs, tokens), (-1, rows, count))
        ranked = log_probs - ops.where(finished, 0.0, costs)
        ranked = _penalized_scores(ranked, lengths, found, options)
    _, best = ops.top_k(ops.reshape(ranked, (-1, rows * count)), width)  # (B, K)
    best = ops.cast(best, "int32")
    tokens, log_probs, scores = (
        take_per_row(ops.reshape(x, (-1, rows * count)), best) for x in (tokens, log_probs, scores)
    )
    parents = best // count
    before, lengths = (take_per_row(found[name], parents) for name in ("finished", "lengths"))
    is_none = log_probs == -float("inf")
    ended = is_none if end_id is None else ops.logical_or(is_none, tokens == end_id)
    chosen = {"last": tokens, "lengths": lengths + ops.cast(ops.logical_not(ended), "int32")}
    chosen["settled"] = _settled(scores, log_probs, before, options)
    # Where NaN leaves fewer than K sequences.
    is_nan = ops.logical_and(is_none, ops.any(is_nan, axis=(1, 2))[:, None])
    log_probs, scores = (ops.where(is_nan, float("nan"), x) for x in (log_probs, scores))
    return parents, {**chosen, "finished": ended, "log_probs": log_probs, "scores": scores}


def _penalized_scores(log_probs: Any, lengths: Any, found: dict, options: Options) -> Any:
    """Returns s(Y) of candidates (B, R, C)."""
    if options.length_penalty_weight:
        log_probs = log_probs / _length_penalty(lengths, options.length_penalty_weight)
    if options.coverage_penalty_weight:
        coverage, finished = found["coverage"], found["finished"]
        covered = ops.where(coverage == 0, 1.0, ops.minimum(coverage, 1.0))  # (B R, S)
        penalty = ops.reshape(ops.sum(ops.log(covered), axis=-1), ops.shape(finished))
        penalty = options.coverage_penalty_weight * ops.where(finished, penalty, 0.0)[:, :, None]
        # Nor where a NaN in the attention came with the logits that ended the sequence.
        log_probs = ops.where(log_probs == -float("inf"), log_probs, log_probs + penalty)
    return log_probs


def _length_penalty(lengths: Any, weight: float) -> Any:
    return ((5.0 + ops.cast(lengths, "float32")) / 6.0) ** weight


def _settled(scores: Any, log_probs: Any, before: Any, options: Options) -> Any:
    """Returns which of the sequences (B, K) have their last score, or cannot be among the N best.

    The last score is that of the step after the end, which counts it. At best, all that follows
    has probability 1, and the length is the one that the penalty favors.
    """
    weight, at_best = options.length_penalty_weight, scores
    if weight > 0:
        at_best = log_probs / _length_penalty(options.max_length, weight)
    is_beaten = ops.all(at_best[:, :, None] < scores[:, None, : options.n_best], axis=-1)
    is_none = log_probs == -float("inf")
    return ops.logical_or(before, ops.logical_or(is_beaten, is_none))
