"""One sequence per batch entry: greedy search, sampling, and the score of a given one."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention.processors.process import process, validate_processors
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


def greedy(
    step: Callable,
    state: Any,
    start_id: Any,
    end_id: int | None,
    max_length: int,
    processors: Sequence[Callable] = (),
) -> SearchResult:
    """Takes the most probable token at each step; N is 1.

    Args:
        step: Function of tokens (B,) and a state to logits (B, V), weights and the next state.
            Weights are (B, S), or have more axes, such as (B, H, W); or None.
        state: The state before the first step.
        start_id: The first token: an integer, or one per batch entry (B,).
        end_id: The token that ends a sequence. None: all sequences have `max_length` tokens.
        max_length: The maximum number of steps, T.
        processors: Functions of logits (N, V), tokens (N, T) and the time to logits, such as
            `ka.processors.MinLength`; one after the other.
    """

    def most_probable(log_probs: Any, time: Any) -> Any:
        return ops.argmax(log_probs, axis=-1)

    return _decode_one(most_probable, step, state, start_id, end_id, max_length, processors)


def sample(
    step: Callable,
    state: Any,
    start_id: Any,
    end_id: int | None,
    max_length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: Any = None,
    processors: Sequence[Callable] = (),
) -> SearchResult:
    """Samples each token from the model's distribution; N is 1.

    Args:
        step, state, start_id, end_id, max_length, processors: See `greedy`.
        temperature: Divides the logits; below 1 sharpens, above 1 flattens.
        top_k: Samples from the k most probable tokens only.
        top_p: Samples from the smallest set of tokens that has probability p or more (nucleus
            sampling; Holtzman et al. 2020, arXiv:1904.09751).
        seed: An integer or a `keras.random.SeedGenerator`.
    """
    validation.at_least("temperature", temperature, 1e-6)
    if top_k is not None:
        validation.positive_integer("top_k", top_k)
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"`top_p` is {top_p}; expected a number in (0, 1].")
    # One uniform number per step and row, sampled before the loop: a seed generator inside it
    # fails on JAX.
    shape = (validation.positive_integer("max_length", max_length), get_batch_size(state))
    uniform = keras.random.uniform(shape, dtype="float32", seed=seed)

    def sample_token(log_probs: Any, time: Any) -> Any:
        logits = log_probs / temperature
        if top_k is not None:
            kept, _ = ops.top_k(logits, min(top_k, logits.shape[-1]))
            logits = ops.where(logits < kept[:, -1:], -float("inf"), logits)
        probabilities = ops.softmax(logits, axis=-1)
        if top_p is not None:
            probabilities = _nucleus(probabilities, top_p)
        cdf = ops.cumsum(probabilities, axis=-1)
        # The factor keeps the target below the last sum in spite of rounding.
        target = ops.take(uniform, time, axis=0)[:, None] * cdf[:, -1:] * (1 - 1e-6)
        return ops.argmax(ops.cast(cdf > target, "int32"), axis=-1)

    return _decode_one(sample_token, step, state, start_id, end_id, max_length, processors)


def score(
    step: Callable, state: Any, tokens: Any, start_id: Any, end_id: int | None
) -> SearchResult:
    """Scores given sequences, as the loss of teacher forcing does: `log_probs` is log p of them.

    Args:
        step, state, start_id, end_id: See `greedy`.
        tokens: (B, T), integers. The first end id counts, and what follows it does not; a sequence
            without one counts as it is.

    Returns:
        What a search that finds these sequences does; N is 1. `attention` is their alignment.
    """
    tokens = ops.cast(ops.convert_to_tensor(tokens), "int32")
    validation.rank("tokens", tokens.shape, "(batch, steps)")

    def given(log_probs: Any, time: Any) -> Any:
        return ops.take(tokens, time, axis=1)

    steps = validation.positive_integer("tokens.shape[1]", tokens.shape[1])
    return _decode_one(given, step, state, start_id, end_id, steps, ())


def _decode_one(
    choose: Callable,
    step: Callable,
    state: Any,
    start_id: Any,
    end_id: Any,
    max_length: int,
    processors: Sequence[Callable],
) -> SearchResult:
    """Decodes one sequence per batch entry, whose tokens `choose(log_probs, time)` picks."""
    max_length = validation.positive_integer("max_length", max_length)
    batch_size, step = get_batch_size(state), FlatStep(step)
    processors = validate_processors(processors)

    def append(found: dict, time: Any, logits: Any, weights: Any, changing: list) -> dict:
        finished = found["finished"]
        log_probs = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        # NaN, in the whole row then, or -inf, where all tokens are forbidden: the sequence ends.
        is_nan = ops.isnan(log_probs[:, 0])
        log_probs = process(processors, log_probs, found["tokens"], time)
        has_none = ops.logical_or(is_nan, ops.all(log_probs == -float("inf"), axis=-1))
        tokens = ops.cast(choose(log_probs, time), "int32")
        tokens = ops.where(ops.logical_or(finished, has_none), fill_id(end_id), tokens)
        token_log_probs = ops.take_along_axis(log_probs, tokens[:, None], axis=1)[:, 0]
        token_log_probs = ops.where(is_nan, float("nan"), token_log_probs)
        ended = ops.logical_or(ops.logical_or(finished, has_none), is_end(tokens, end_id))
        weights = ops.where(finished[:, None], 0, weights)
        return {
            "state": changing,
            "tokens": write_step(found["tokens"], time, tokens),
            "weights": write_time_major(found["weights"], time, weights),
            "log_probs": found["log_probs"] + ops.where(finished, 0.0, token_log_probs),
            "lengths": found["lengths"] + ops.cast(ops.logical_not(ended), "int32"),
            "finished": ended,
            "last": tokens,
        }

    def body(time: Any, found: dict) -> dict:
        logits, weights, state = step(found["last"], loop_state.merge(found["state"]))
        return append(found, time, logits, weights, loop_state.changing(state))

    logits, weights, next_state = step(first_tokens(start_id, batch_size), state)
    validate_ids(start_id, end_id, logits.shape[-1])
    loop_state = LoopState(step, state, next_state)
    empty = {
        "tokens": full_int32((batch_size, max_length), fill_id(end_id)),
        "weights": ops.zeros((max_length, *ops.shape(weights)), dtype=weights.dtype),
        "log_probs": ops.zeros((batch_size,), dtype="float32"),
        "lengths": full_int32((batch_size,), 0),
        "finished": ops.zeros((batch_size,), dtype="bool"),
    }
    first = ops.convert_to_tensor(0, dtype="int32")
    found = append(empty, first, logits, weights, loop_state.changing(next_state))
    found = run_loop(body, found, max_length, lambda found: ops.all(found["finished"]))
    return SearchResult(
        tokens=found["tokens"][:, None],
        lengths=found["lengths"][:, None],
        log_probs=found["log_probs"][:, None],
        scores=found["log_probs"][:, None],
        attention=step.unflatten(ops.transpose(found["weights"], (1, 0, 2))[:, None]),
    )


def _nucleus(probabilities: Any, top_p: float) -> Any:
    """Sets the probabilities outside the nucleus to zero."""
    ordered = ops.flip(ops.sort(probabilities, axis=-1), axis=-1)
    before = ops.cumsum(ordered, axis=-1) - ordered
    smallest = ops.min(ops.where(before < top_p, ordered, 1.0), axis=-1, keepdims=True)
    return ops.where(probabilities < smallest, 0.0, probabilities)
