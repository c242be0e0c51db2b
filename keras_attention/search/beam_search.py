"""Beam search, with the penalties of GNMT."""

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from keras_attention._internal import validation
from keras_attention.processors.process import validate_processors
from keras_attention.search.loop import (
    FlatStep,
    SearchResult,
    fill_id,
    first_tokens,
    full_int32,
    get_batch_size,
    is_end,
    run_loop,
    validate_ids,
    write_step,
    write_time_major,
)
from keras_attention.search.loop_state import LoopState
from keras_attention.search.selection import Options, length_penalty, select


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
    validation.finite("length_penalty_weight", length_penalty_weight)
    validation.finite("coverage_penalty_weight", coverage_penalty_weight)
    options = Options(
        end_id,
        validation.positive_integer("max_length", max_length),
        beam_width,
        n_best,
        length_penalty_weight,
        coverage_penalty_weight,
        validate_processors(processors),
    )
    return search_beams(step, state, start_id, options, select)


def search_beams(
    step: Callable, state: Any, start_id: Any, options: Options, select: Callable
) -> SearchResult:
    """The search, with the function that selects what goes on: see `select`."""
    end_id, max_length, beam_width, *_ = options
    # Before the first step there is one empty sequence; the beams are its best continuations.
    batch_size, step = get_batch_size(state), FlatStep(step)
    logits, weights, next_state = step(first_tokens(start_id, batch_size), state)
    validate_ids(start_id, end_id, logits.shape[-1])
    if options.coverage_penalty_weight and not step.has_weights:
        raise ValueError(
            f"`coverage_penalty_weight` is {options.coverage_penalty_weight}, and `step` returns "
            "None for its weights; expected weights (N, S)."
        )
    no_tokens = full_int32((batch_size, beam_width, max_length), fill_id(end_id))
    empty = {
        "tokens": no_tokens[:, :1],
        "log_probs": ops.zeros((batch_size, 1), dtype="float32"),
        "lengths": full_int32((batch_size, 1), 0),
        "coverage": ops.cast(weights, "float32")[:, None],
        "finished": ops.zeros((batch_size, 1), dtype="bool"),
    }
    scores, log_probs, _, tokens, has_nan = select(ops.zeros((), "int32"), logits, empty, options)

    def repeat_beams(tensor: Any) -> Any:
        return ops.repeat(tensor, beam_width, axis=0)

    loop_state = LoopState(step, state, next_state, repeat_beams)
    weights = repeat_beams(weights)  # (B K, S)
    no_weights = ops.zeros((max_length, *ops.shape(weights)), dtype=weights.dtype)
    beams = {
        "state": [repeat_beams(tensor) for tensor in loop_state.changing(next_state)],
        "tokens": write_step(no_tokens, 0, tokens),
        # Weights stay in the row they were written to. `path` is the row of a sequence at each
        # step, by which its weights are gathered at the end.
        "path": ops.zeros_like(no_tokens) + _first_rows(tokens)[:, :, None],
        "weights": write_time_major(no_weights, 0, weights),
        "coverage": ops.reshape(
            ops.cast(weights, "float32"), (batch_size, beam_width, ops.shape(weights)[-1])
        ),
        "log_probs": log_probs,
        "scores": scores,
        "lengths": ops.ones_like(tokens),
        "finished": is_end(tokens, end_id),
        "all_settled": ops.zeros((), dtype="bool"),
        "has_nan": has_nan,
        "last": tokens,
    }
    beams = run_loop(
        lambda time, beams: _advance(time, beams, step, loop_state, options, select),
        beams,
        max_length,
        lambda beams: beams["all_settled"],
    )
    return _result(beams, options, step)


def _advance(
    time: Any,
    beams: dict,
    step: Callable,
    loop_state: LoopState,
    options: Options,
    select: Callable,
) -> dict:
    """Takes one step with all beams."""
    finished = beams["finished"]
    state = loop_state.merge(beams["state"])
    logits, weights, state = step(ops.reshape(beams["last"], (-1,)), state)
    weights = ops.where(ops.reshape(finished, (-1, 1)), 0, weights)
    step_coverage = ops.reshape(ops.cast(weights, "float32"), ops.shape(beams["coverage"]))
    coverage = beams["coverage"] + step_coverage
    candidates = select(time, logits, {**beams, "coverage": coverage}, options)
    scores, log_probs, parents, tokens, has_nan = candidates
    rows = parents + _first_rows(parents)  # (B, K)
    finished = reorder(finished, rows)
    lengths = reorder(beams["lengths"], rows) + ops.cast(ops.logical_not(finished), "int32")
    return {
        "state": [reorder_rows(tensor, rows) for tensor in loop_state.changing(state)],
        "tokens": write_step(reorder(beams["tokens"], rows), time, tokens),
        "path": write_step(reorder(beams["path"], rows), time, rows),
        "weights": write_time_major(beams["weights"], time, weights),
        "coverage": reorder(coverage, rows),
        "log_probs": log_probs,
        "scores": scores,
        "lengths": lengths,
        "finished": ops.logical_or(finished, is_end(tokens, options.end_id)),
        "all_settled": ops.all(_settled(scores, log_probs, finished, options)),
        "has_nan": ops.logical_or(beams["has_nan"], has_nan),
        "last": tokens,
    }


def _settled(scores: Any, log_probs: Any, finished_before: Any, options: Options) -> Any:
    """Returns which of the sequences (B, K) have their last score, or cannot be among the N best.

    The last score is that of the step after the end, which counts it. At best, all that follows
    has probability 1, and the length is the one that the penalty favors.
    """
    weight, at_best = options.length_penalty_weight, scores
    if weight > 0:
        at_best = log_probs / length_penalty(options.max_length, weight)
    is_beaten = ops.all(at_best[:, :, None] < scores[:, None, : options.n_best], axis=-1)
    is_none = log_probs == -float("inf")
    return ops.logical_or(finished_before, ops.logical_or(is_beaten, is_none))


def _result(beams: dict, options: Options, step: FlatStep) -> SearchResult:
    """Returns the best sequences; empty ones where there are fewer, with probability 0."""
    tokens, lengths, finished, log_probs, scores, path = (
        beams[name][:, : options.n_best]
        for name in ("tokens", "lengths", "finished", "log_probs", "scores", "path")
    )
    is_none = log_probs == -float("inf")
    lengths = ops.where(is_none, 0, lengths - ops.cast(finished, "int32"))
    is_nan = ops.logical_and(is_none, beams["has_nan"][:, None])
    attention = None
    if step.has_weights:
        steps, rows, positions = ops.shape(beams["weights"])  # (T, B K, S)
        path = path + ops.arange(steps, dtype="int32") * rows
        all_weights = ops.reshape(beams["weights"], (steps * rows, positions))
        attention = ops.where(is_none[:, :, None, None], 0, ops.take(all_weights, path, axis=0))
        attention = step.unflatten(attention)
    return SearchResult(
        tokens=ops.where(is_none[:, :, None], fill_id(options.end_id), tokens),
        lengths=lengths,
        log_probs=ops.where(is_nan, float("nan"), log_probs),
        scores=ops.where(is_nan, float("nan"), scores),
        attention=attention,
    )


def reorder(tensor: Any, rows: Any) -> Any:
    """Re-orders (B, K, ...) along the beams, by `rows` (B, K) of the flat (B K, ...)."""
    batch_size, beam_width, *rest = ops.shape(tensor)
    flat = ops.reshape(tensor, (batch_size * beam_width, *rest))
    return ops.reshape(reorder_rows(flat, rows), ops.shape(tensor))


def reorder_rows(tensor: Any, rows: Any) -> Any:
    """Re-orders the state of a step, (B K, ...), by `rows` (B, K)."""
    return ops.take(tensor, ops.reshape(rows, (-1,)), axis=0)


def _first_rows(beams: Any) -> Any:
    """Returns the row of each batch entry's first beam, (B, 1), among the rows of (B, K)."""
    batch_size, beam_width = ops.shape(beams)
    return ops.arange(batch_size, dtype="int32")[:, None] * beam_width
