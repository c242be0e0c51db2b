"""Beam search, with the penalties of GNMT."""

import math
import numbers
from collections.abc import Callable

from keras import ops

from keras_attention.search.loop import (
    Carried,
    SearchResult,
    at_least_one,
    batch_size,
    check_ids,
    first_tokens,
    full,
    repeat,
    write_entry,
    write_step,
)
from keras_attention.search.top_k import largest


def beam(
    step: Callable,
    state,
    start_id,
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

    A finished sequence is kept as it is, and counts its end id in |Y| from the step after the one
    that wrote it; cp counts for finished sequences only, over the memory steps that got any weight:
    padding gets none, and costs nothing. This is how TensorFlow Addons reads the formula.

    Args:
        step, state, start_id, end_id, max_length: See `greedy`.
        beam_width: Sequences kept per batch entry, at most V.
        length_penalty_weight: 0 for none; larger favours longer sequences.
        coverage_penalty_weight: 0 for none; larger favours attention that covers the memory.
        n_best: Sequences returned, N. Defaults to `beam_width`.

    Reference: Wu et al. 2016, "Google's Neural Machine Translation System", arXiv:1609.08144.
    """
    steps = at_least_one("max_length", max_length)
    at_least_one("beam_width", beam_width)
    n_best = beam_width if n_best is None else at_least_one("n_best", n_best)
    if n_best > beam_width:
        raise ValueError(f"`n_best` is {n_best}; expected at most `beam_width`, {beam_width}.")
    for argument, weight in (
        ("length_penalty_weight", length_penalty_weight),
        ("coverage_penalty_weight", coverage_penalty_weight),
    ):
        if not isinstance(weight, numbers.Real) or not math.isfinite(weight):
            raise ValueError(f"`{argument}` is {weight!r}; expected a finite number.")
    batch = batch_size(state)

    def penalised(log_probs, lengths, coverage, finished):
        scores = log_probs
        if length_penalty_weight:
            scores = scores / ((5.0 + ops.cast(lengths, "float32")) / 6.0) ** length_penalty_weight
        if coverage_penalty_weight:
            covered = ops.where(coverage == 0, 1.0, ops.minimum(coverage, 1.0))  # (B, K, S)
            penalty = ops.sum(ops.log(covered), axis=-1) * ops.cast(finished, "float32")
            scores = scores + coverage_penalty_weight * penalty[:, :, None]
        return scores

    def best(logits, log_probs, lengths, coverage, finished):
        """Picks from what may follow sequences (B, K), by logits (B K, V).

        A sequence's penalty is the same for all words but the end, so that C candidates are enough:
        its K likeliest words, and the end, which comes last.
        """
        logits = ops.cast(logits, "float32")
        words, tokens = largest(logits, min(beam_width + 1, logits.shape[-1]))
        total = ops.sum(ops.exp(logits - words[:, :1]), axis=-1, keepdims=True)
        total = ops.log(total) + words[:, :1]
        words = ops.where(tokens == end_id, -float("inf"), words)
        candidates = ops.concatenate([words, logits[:, end_id : end_id + 1]], axis=-1) - total
        tokens = ops.pad(tokens, [[0, 0], [0, 1]], constant_values=end_id)  # (B K, C)

        count = tokens.shape[-1]
        candidates = ops.reshape(candidates, (batch, -1, count))  # (B, K, C)
        is_end = ops.arange(count) == count - 1
        # All that a finished sequence can do is to end once more, at no cost.
        frozen = ops.where(is_end, 0.0, -float("inf"))
        candidates = ops.where(finished[:, :, None], frozen, candidates) + log_probs[:, :, None]
        grown = ops.cast(ops.logical_not(ops.logical_or(finished[:, :, None], is_end)), "int32")
        scores = penalised(candidates, lengths[:, :, None] + grown, coverage, finished)
        scores, indices = ops.top_k(ops.reshape(scores, (batch, -1)), beam_width)  # (B, K)
        indices = ops.cast(indices, "int32")

        def picked(tensor):
            return ops.take_along_axis(ops.reshape(tensor, (batch, -1)), indices, axis=1)

        return scores, picked(candidates), indices // count, picked(tokens)

    # The first step is taken before there are beams: all of them start from its best tokens.
    logits, weights, next_state = step(first_tokens(start_id, batch), state)
    check_ids(start_id, end_id, logits.shape[-1])
    if logits.shape[-1] < beam_width:
        raise ValueError(
            f"`beam_width` is {beam_width}; expected at most the vocabulary, {logits.shape[-1]}."
        )
    scores, log_probs, _, tokens = best(
        logits,
        ops.zeros((batch, 1), dtype="float32"),
        ops.zeros((batch, 1), dtype="int32"),
        ops.cast(weights, "float32")[:, None],
        ops.zeros((batch, 1), dtype="bool"),
    )

    def widen(tensor):
        return ops.repeat(tensor, beam_width, axis=0)

    shared = getattr(step, "shared", lambda state: ())
    carried = Carried(state, next_state, widen, shared(state))
    first_rows = ops.arange(batch, dtype="int32")[:, None] * beam_width  # (B, 1)
    weights = widen(weights)  # (B K, S)
    no_weights = ops.zeros((steps, *ops.shape(weights)), dtype=weights.dtype)
    found = {
        "state": [widen(leaf) for leaf in carried.moving(next_state)],
        "tokens": write_step(full((batch, beam_width, steps), end_id), 0, tokens),
        # Weights stay in the row they were written to. `path` says which row a sequence was in at
        # each step, so that its weights can be fetched at the end.
        "path": full((batch, beam_width, steps), 0) + first_rows[:, :, None],
        "weights": write_entry(no_weights, 0, weights),
        "coverage": ops.reshape(ops.cast(weights, "float32"), (batch, beam_width, -1)),
        "log_probs": log_probs,
        "scores": scores,
        "lengths": full((batch, beam_width), 1),
        "finished": tokens == end_id,
        # A step after the last one that finished a sequence ranks them all as finished, so that a
        # result does not depend on who shares the batch.
        "settled": ops.zeros((), dtype="bool"),
        "last": tokens,
    }

    def advance(time, found):
        finished = found["finished"]
        logits, weights, state = step(
            ops.reshape(found["last"], (-1,)), carried.whole(found["state"])
        )
        weights = ops.where(ops.reshape(finished, (-1, 1)), 0, weights)
        coverage = found["coverage"] + ops.reshape(
            ops.cast(weights, "float32"), ops.shape(found["coverage"])
        )
        scores, log_probs, parents, tokens = best(
            logits, found["log_probs"], found["lengths"], coverage, finished
        )
        parents = parents + first_rows
        rows = ops.reshape(parents, (-1,))  # (B K,)

        def follow(tensor):
            """Re-orders (B, K, ...) along the beam."""
            flat = ops.reshape(tensor, (-1, *ops.shape(tensor)[2:]))
            return ops.reshape(ops.take(flat, rows, axis=0), ops.shape(tensor))

        finished = follow(finished)
        return time + 1, {
            "state": [ops.take(leaf, rows, axis=0) for leaf in carried.moving(state)],
            "tokens": write_step(follow(found["tokens"]), time, tokens),
            "path": write_step(follow(found["path"]), time, parents),
            "weights": write_entry(found["weights"], time, weights),
            "coverage": follow(coverage),
            "log_probs": log_probs,
            "scores": scores,
            "lengths": follow(found["lengths"]) + ops.cast(ops.logical_not(finished), "int32"),
            "finished": ops.logical_or(finished, tokens == end_id),
            "settled": ops.all(found["finished"]),
            "last": tokens,
        }

    found = repeat(advance, found, steps, lambda found: found["settled"])
    path = found["path"][:, :n_best] + ops.arange(steps, dtype="int32") * batch * beam_width
    kept = ops.reshape(found["weights"], (-1, ops.shape(weights)[-1]))  # (T B K, S)
    return SearchResult(
        tokens=found["tokens"][:, :n_best],
        lengths=(found["lengths"] - ops.cast(found["finished"], "int32"))[:, :n_best],
        log_probs=found["log_probs"][:, :n_best],
        scores=found["scores"][:, :n_best],
        attention=ops.take(kept, path, axis=0),
    )
