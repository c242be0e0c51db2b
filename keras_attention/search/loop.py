"""The loop of all searches: steps, between which a function selects how sequences go on."""

import numbers
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention.processors.process import process, validate_processors
from keras_attention.search.step import FlatStep, LoopState


class SearchResult(NamedTuple):
    """The sequences that a search found, best first.

    Attributes:
        tokens: (B, N, T), int32; after the end id, more end ids.
        lengths: (B, N), int32: the number of tokens before the end id.
        log_probs: (B, N), float32: log p of the tokens and the end id. -inf where there are fewer
            than N sequences, and NaN where the logits were; such a sequence ends there.
        scores: (B, N), float32: `log_probs` with the penalties, by which the results are ranked.
        attention: (B, N, T, S): the attention weights of each step, zero after the end; (B, N, T,
            H, W) over feature maps, None if the step returns None for them.
    """

    tokens: Any
    lengths: Any
    log_probs: Any
    scores: Any
    attention: Any


class Options(NamedTuple):
    """The arguments of a search. With `groups` there are as many, side by side, of each entry."""

    end_id: int | None
    max_length: int
    processors: Sequence[Callable]
    groups: int = 1
    beam_width: int = 1
    n_best: int = 1
    length_penalty_weight: float = 0.0
    coverage_penalty_weight: float = 0.0


def search(
    step: Callable, state: Any, start_id: Any, options: Options, select: Callable
) -> SearchResult:
    """Runs a search, over one sequence per entry before the first step and K after it.

    Tokens, coverage and state are rows (B K, ...). So are the weights (B K, T, S), which stay in
    the row they were written to: `path` has the row of a sequence at each step.

    Args:
        step, state, start_id: See `greedy`.
        select: Function of log p (B K, V) of the next tokens, the time, the sequences so far and
            the options. It returns which sequences (B, K) go on, and a dict of (B, K): their
            `last` tokens, `log_probs`, `scores`, `lengths`, which are `finished`, and which are
            `settled`; if all are, the search ends.
    """
    max_length = validation.positive_integer("max_length", options.max_length)
    batch_size, step = ops.shape(keras.tree.flatten(state)[0])[0], FlatStep(step)
    processors = validate_processors(options.processors, batch_size)
    tokens = ops.broadcast_to(ops.cast(start_id, "int32"), (batch_size,))
    if options.groups > 1:
        tokens, state = keras.tree.map_structure(
            lambda x: ops.repeat(x, options.groups, axis=0), (tokens, state)
        )
    logits, weights, next_state = step(tokens, state)
    _validate_ids(start_id, options.end_id, logits.shape[-1])
    if options.coverage_penalty_weight and not step.axes:
        raise ValueError(
            f"`coverage_penalty_weight` is {options.coverage_penalty_weight}, and `step` returns "
            "None for its weights; expected weights (N, S)."
        )
    loop_state = LoopState(step, state, next_state, options.beam_width)

    def extend(found: dict, time: Any, logits: Any, weights: Any, state: Any) -> dict:
        finished, log_probs = found["finished"], found["log_probs"]  # (B, K)
        logits = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        is_nan = ops.reshape(ops.isnan(logits[:, 0]), ops.shape(finished))  # and so is the row
        is_nan = ops.logical_and(is_nan, ops.logical_not(finished))
        logits = process(processors, logits, found["tokens"], time)
        weights = ops.where(ops.reshape(finished, (-1, 1)), 0, weights)
        rows = {name: found[name] for name in ("tokens", "path", "coverage") if name in found}
        if options.coverage_penalty_weight:
            rows["coverage"] = rows["coverage"] + ops.cast(weights, "float32")
        log_probs = ops.where(is_nan, float("nan"), log_probs)
        parents, chosen = select(logits, time, {**found, **rows, "log_probs": log_probs}, options)
        rows["state"] = loop_state.changing(state)
        is_now = ops.arange(max_length, dtype="int32") == time
        if options.beam_width > 1:
            order = _rows(parents, finished.shape[1])
            rows, weights = keras.tree.map_structure(
                lambda x: ops.take(x, order, axis=0), (rows, weights)
            )
            own_rows = ops.arange(ops.shape(order)[0], dtype="int32")
            rows["path"] = ops.where(is_now, own_rows[:, None], rows["path"])
        rows["tokens"] = ops.where(is_now, ops.reshape(chosen["last"], (-1, 1)), rows["tokens"])
        all_weights = ops.where(is_now[:, None], weights[:, None], found["weights"])
        return {**rows, **chosen, "weights": all_weights}

    def advance(time: Any, found: dict) -> tuple:
        state = loop_state.merge(found["state"])
        return time + 1, extend(found, time, *step(ops.reshape(found["last"], (-1,)), state))

    rows, positions = ops.shape(weights)
    empty = {
        "tokens": ops.full((rows, max_length), options.end_id or 0, dtype="int32"),
        "weights": ops.zeros((rows * options.beam_width, max_length, positions), weights.dtype),
        "log_probs": ops.zeros((rows, 1), dtype="float32"),
        "lengths": ops.zeros((rows, 1), dtype="int32"),
        "finished": ops.zeros((rows, 1), dtype="bool"),
    }
    if options.beam_width > 1:
        empty["path"] = ops.zeros((rows, max_length), dtype="int32")
    if options.coverage_penalty_weight:
        empty["coverage"] = ops.zeros((rows, positions), dtype="float32")
    time = ops.convert_to_tensor(0, dtype="int32")
    _, found = ops.while_loop(
        lambda _, found: ops.logical_not(ops.all(found["settled"])),
        advance,
        (time + 1, extend(empty, time, logits, weights, next_state)),
        maximum_iterations=max_length - 1,
    )
    return _result(found, batch_size, options, step)


def _result(found: dict, batch_size: Any, options: Options, step: FlatStep) -> SearchResult:
    """Returns all sequences of a batch entry side by side."""
    weights, count = found["weights"], options.groups * options.beam_width
    if options.beam_width > 1:
        rows, steps, positions = ops.shape(weights)
        path = found["path"] * steps + ops.arange(steps, dtype="int32")  # (B K, T)
        weights = ops.take(ops.reshape(weights, (rows * steps, positions)), path, axis=0)
    lengths, log_probs, scores = (
        ops.reshape(found[name], (-1,)) for name in ("lengths", "log_probs", "scores")
    )
    rows = [found["tokens"], lengths, log_probs, scores, weights]
    if options.groups > 1:  # the best first, NaN last
        scores = ops.where(ops.isnan(scores), -float("inf"), scores)
        _, order = ops.top_k(ops.reshape(scores, (batch_size, count)), count)
        rows = [ops.take(x, _rows(order, count), axis=0) for x in rows]
    tokens, lengths, log_probs, scores, weights = (
        ops.reshape(x, (batch_size, count, *ops.shape(x)[1:])) for x in rows
    )
    return SearchResult(tokens, lengths, log_probs, scores, step.unflatten(weights))


def _rows(beams: Any, count: int) -> Any:
    """Returns the rows (B K,) of `beams` (B, K), numbers below `count`, in (B count, ...)."""
    entries = ops.arange(ops.shape(beams)[0], dtype="int32")[:, None]
    return ops.reshape(entries * count + ops.cast(beams, "int32"), (-1,))


def _validate_ids(start_id: Any, end_id: Any, vocabulary: int | None) -> None:
    """Checks that the ids are tokens of the vocabulary, whose size must be known."""
    if vocabulary is None:
        raise ValueError("`step` returns logits of unknown width; expected a known one.")
    if end_id is None:  # Pointers may start from a position that no step returns.
        return
    ids = {"end_id": end_id}
    if isinstance(start_id, numbers.Number):
        ids["start_id"] = start_id
    for argument, value in ids.items():
        if not isinstance(value, numbers.Integral) or not 0 <= int(value) < vocabulary:
            raise ValueError(
                f"`{argument}` is {value!r}; expected an integer, 0 <= {argument} < {vocabulary}."
            )
