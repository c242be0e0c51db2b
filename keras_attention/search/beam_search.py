"""Beam search, with the penalties of GNMT."""

import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from keras_attention._internal import validation
from keras_attention.search.loop import (
    SearchResult,
    first_tokens,
    full_int32,
    get_batch_size,
    run_loop,
    validate_ids,
    write_step,
    write_time_major,
)
from keras_attention.search.loop_state import LoopState
from keras_attention.search.top_k import largest


def beam(
    step: Callable,
    state: Any,
    start_id: Any,
    end_id: int,
    max_length: int,
    beam_width: int,
    length_penalty_weight: float = 0.0,
    coverage_penalty_weight: float = 0.0,
    n_best: int | None = None,
) -> SearchResult:
    """Keeps the `beam_width` best sequences at each step, ranked by

        s(Y) = log p(Y) / lp(Y) + cp(Y)
        lp(Y) = ((5 + |Y|) / 6) ** length_penalty_weight
        cp(Y) = coverage_penalty_weight * sum_s log(min(sum_t a_ts, 1))          (GNMT, eq. 14)

    A finished sequence does not change any more. As in TensorFlow Addons, |Y| includes its end id
    from the following step on, and cp applies to finished sequences only, over the memory steps
    with non-zero attention, so that padding costs nothing.

    Args:
        step, state, start_id, end_id, max_length: See `greedy`.
        beam_width: Sequences kept per batch entry, at most V.
        length_penalty_weight: 0 for none; larger favors longer sequences.
        coverage_penalty_weight: 0 for none; larger favors attention that covers the memory.
        n_best: Sequences returned, N. Defaults to `beam_width`.

    Reference: Wu et al. 2016, "Google's Neural Machine Translation System", arXiv:1609.08144.
    """
    max_length = validation.positive_integer("max_length", max_length)
    validation.positive_integer("beam_width", beam_width)
    n_best = beam_width if n_best is None else validation.positive_integer("n_best", n_best)
    if n_best > beam_width:
        raise ValueError(f"`n_best` is {n_best}; expected at most `beam_width`, {beam_width}.")
    _validate_finite("length_penalty_weight", length_penalty_weight)
    _validate_finite("coverage_penalty_weight", coverage_penalty_weight)
    options = _Options(end_id, beam_width, length_penalty_weight, coverage_penalty_weight)

    # Before the first step there is one empty sequence; the beams are its best continuations.
    batch_size = get_batch_size(state)
    logits, weights, next_state = step(first_tokens(start_id, batch_size), state)
    validate_ids(start_id, end_id, logits.shape[-1])
    if logits.shape[-1] < beam_width:
        raise ValueError(
            f"`beam_width` is {beam_width}; expected at most the vocabulary, {logits.shape[-1]}."
        )
    empty = {
        "log_probs": ops.zeros((batch_size, 1), dtype="float32"),
        "lengths": full_int32((batch_size, 1), 0),
        "coverage": ops.cast(weights, "float32")[:, None],
        "finished": ops.zeros((batch_size, 1), dtype="bool"),
    }
    scores, log_probs, _, tokens = select(logits, empty, options)

    def repeat_beams(tensor: Any) -> Any:
        return ops.repeat(tensor, beam_width, axis=0)

    loop_state = LoopState(step, state, next_state, repeat_beams)
    weights = repeat_beams(weights)  # (B K, S)
    no_weights = ops.zeros((max_length, *ops.shape(weights)), dtype=weights.dtype)
    no_tokens = full_int32((batch_size, beam_width, max_length), end_id)
    beams = {
        "state": [repeat_beams(tensor) for tensor in loop_state.changing(next_state)],
        "tokens": write_step(no_tokens, 0, tokens),
        # Weights stay in the row they were written to. `path` is the row of a sequence at each
        # step, by which its weights are gathered at the end.
        "path": ops.zeros_like(no_tokens) + _first_rows(tokens)[:, :, None],
        "weights": write_time_major(no_weights, 0, weights),
        "coverage": ops.reshape(ops.cast(weights, "float32"), (batch_size, beam_width, -1)),
        "log_probs": log_probs,
        "scores": scores,
        "lengths": ops.ones_like(tokens),
        "finished": tokens == end_id,
        # One more step after the last end ranks all sequences as finished ones, so that a result
        # does not depend on the other entries of the batch.
        "all_finished_before": ops.zeros((), dtype="bool"),
        "last": tokens,
    }
    beams = run_loop(
        lambda time, beams: _advance(time, beams, step, loop_state, options),
        beams,
        max_length,
        lambda beams: beams["all_finished_before"],
    )
    path = beams["path"][:, :n_best]
    path = path + ops.arange(max_length, dtype="int32") * batch_size * beam_width
    all_weights = ops.reshape(beams["weights"], (-1, ops.shape(weights)[-1]))  # (T B K, S)
    return SearchResult(
        tokens=beams["tokens"][:, :n_best],
        lengths=(beams["lengths"] - ops.cast(beams["finished"], "int32"))[:, :n_best],
        log_probs=beams["log_probs"][:, :n_best],
        scores=beams["scores"][:, :n_best],
        attention=ops.take(all_weights, path, axis=0),
    )


class _Options(NamedTuple):
    end_id: int
    beam_width: int
    length_penalty_weight: float
    coverage_penalty_weight: float


def _advance(
    time: Any, beams: dict, step: Callable, loop_state: LoopState, options: _Options
) -> dict:
    """Takes one step with all beams."""
    finished = beams["finished"]
    state = loop_state.merge(beams["state"])
    logits, weights, state = step(ops.reshape(beams["last"], (-1,)), state)
    weights = ops.where(ops.reshape(finished, (-1, 1)), 0, weights)
    step_coverage = ops.reshape(ops.cast(weights, "float32"), ops.shape(beams["coverage"]))
    coverage = beams["coverage"] + step_coverage
    scores, log_probs, parents, tokens = select(logits, {**beams, "coverage": coverage}, options)
    rows = parents + _first_rows(parents)  # (B, K)
    finished = reorder(finished, rows)
    return {
        "state": [reorder_rows(tensor, rows) for tensor in loop_state.changing(state)],
        "tokens": write_step(reorder(beams["tokens"], rows), time, tokens),
        "path": write_step(reorder(beams["path"], rows), time, rows),
        "weights": write_time_major(beams["weights"], time, weights),
        "coverage": reorder(coverage, rows),
        "log_probs": log_probs,
        "scores": scores,
        "lengths": reorder(beams["lengths"], rows) + ops.cast(ops.logical_not(finished), "int32"),
        "finished": ops.logical_or(finished, tokens == options.end_id),
        "all_finished_before": ops.all(beams["finished"]),
        "last": tokens,
    }


def select(logits: Any, beams: dict, options: _Options) -> tuple:
    """Selects the K best continuations of sequences (B, K), by the logits (B K, V) of their tokens.

    A sequence's penalty is the same for all tokens but the end id, so few candidates suffice: its
    most probable tokens, K of which are not the end id, and the end id, which comes last.

    Returns:
        Scores, log-probabilities, the sequences that are continued, and tokens, all (B, K).
    """
    end_id, beam_width = options.end_id, options.beam_width
    finished = beams["finished"][:, :, None]  # (B, K, 1)
    logits = ops.cast(logits, "float32")
    top, tokens = largest(logits, min(beam_width + 1, logits.shape[-1]))
    log_total = ops.log(ops.sum(ops.exp(logits - top[:, :1]), axis=-1, keepdims=True)) + top[:, :1]
    top = ops.where(tokens == end_id, -float("inf"), top)
    candidates = ops.concatenate([top, logits[:, end_id : end_id + 1]], axis=-1) - log_total
    tokens = ops.pad(tokens, [[0, 0], [0, 1]], constant_values=end_id)  # (B K, C)

    count = tokens.shape[-1]
    shape = (ops.shape(finished)[0], -1, count)
    candidates = ops.reshape(candidates, shape)  # (B, K, C)
    is_end = ops.arange(count) == count - 1
    # A finished sequence has one continuation: another end id, with log-probability 0.
    end_only = ops.where(is_end, 0.0, -float("inf"))
    candidates = ops.where(finished, end_only, candidates) + beams["log_probs"][:, :, None]
    length_increment = ops.cast(ops.logical_not(ops.logical_or(finished, is_end)), "int32")
    lengths = beams["lengths"][:, :, None] + length_increment
    scores = penalized_scores(candidates, lengths, beams["coverage"], beams["finished"], options)
    scores, indices = ops.top_k(ops.reshape(scores, (shape[0], -1)), beam_width)  # (B, K)
    indices = ops.cast(indices, "int32")
    return scores, gather(candidates, indices), indices // count, gather(tokens, indices)


def penalized_scores(
    log_probs: Any, lengths: Any, coverage: Any, finished: Any, options: _Options
) -> Any:
    """Returns s(Y) of candidates (B, K, C), by the coverage (B, K, S) of their sequences (B, K)."""
    scores = log_probs
    if options.length_penalty_weight:
        length_penalty = (5.0 + ops.cast(lengths, "float32")) / 6.0
        scores = scores / length_penalty**options.length_penalty_weight
    if options.coverage_penalty_weight:
        covered = ops.where(coverage == 0, 1.0, ops.minimum(coverage, 1.0))  # (B, K, S)
        penalty = ops.sum(ops.log(covered), axis=-1) * ops.cast(finished, "float32")
        scores = scores + options.coverage_penalty_weight * penalty[:, :, None]
    return scores


def gather(candidates: Any, indices: Any) -> Any:
    """Returns the candidates, (B, K, C) or (B K, C), at the `indices` (B, K) of a batch entry."""
    candidates = ops.reshape(candidates, (ops.shape(indices)[0], -1))
    return ops.take_along_axis(candidates, indices, axis=1)


def reorder(tensor: Any, rows: Any) -> Any:
    """Re-orders (B, K, ...) along the beams, by `rows` (B, K) of the flat (B K, ...)."""
    flat = ops.reshape(tensor, (-1, *ops.shape(tensor)[2:]))
    return ops.reshape(reorder_rows(flat, rows), ops.shape(tensor))


def reorder_rows(tensor: Any, rows: Any) -> Any:
    """Re-orders the state of a step, (B K, ...), by `rows` (B, K)."""
    return ops.take(tensor, ops.reshape(rows, (-1,)), axis=0)


def _first_rows(beams: Any) -> Any:
    """Returns the row of each batch entry's first beam, (B, 1), among the rows of (B, K)."""
    batch_size, beam_width = ops.shape(beams)
    return ops.arange(batch_size, dtype="int32")[:, None] * beam_width


def _validate_finite(argument: str, value: Any) -> None:
    if not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ValueError(f"`{argument}` is {value!r}; expected a finite number.")
