"""One sequence per batch entry: greedy search and sampling."""

from collections.abc import Callable

import keras
from keras import ops

from keras_attention.search.loop import (
    Carried,
    SearchResult,
    at_least_one,
    batch_size,
    check_ids,
    first_tokens,
    full,
    log_softmax,
    repeat,
    write_entry,
    write_step,
)


def greedy(step: Callable, state, start_id, end_id: int, max_length: int) -> SearchResult:
    """Takes the most probable token at each step; N is 1.

    Args:
        step: Function of tokens (B,) and a state to logits (B, V), weights (B, S), next state.
        state: What the first step takes.
        start_id: The first token: an integer, or one per batch entry (B,).
        end_id: The token that ends a sequence.
        max_length: Most steps to take, T.
    """

    def most_probable(log_probs, time):
        return ops.argmax(log_probs, axis=-1)

    return _follow(most_probable, step, state, start_id, end_id, max_length)


def sample(
    step: Callable,
    state,
    start_id,
    end_id: int,
    max_length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed=None,
) -> SearchResult:
    """Draws each token from what the model expects; N is 1.

    Args:
        step, state, start_id, end_id, max_length: See `greedy`.
        temperature: Divides the logits; below 1 sharpens, above 1 flattens.
        top_k: Draws from the k most probable tokens only.
        top_p: Draws from the fewest tokens that together have probability p (Holtzman et al. 2020,
            arXiv:1904.09751).
        seed: An integer or a `keras.random.SeedGenerator`.
    """
    if not temperature >= 1e-6:  # written so that NaN is refused too
        raise ValueError(f"`temperature` is {temperature}; expected a number from 1e-6 up.")
    if top_k is not None:
        at_least_one("top_k", top_k)
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"`top_p` is {top_p}; expected a number in (0, 1].")
    # One uniform number per step and row is all that a draw takes, and it is drawn before the loop:
    # a generator inside of it breaks on JAX.
    shape = (at_least_one("max_length", max_length), batch_size(state))
    uniform = keras.random.uniform(shape, seed=seed)

    def draw(log_probs, time):
        logits = log_probs / temperature
        if top_k is not None:
            kept, _ = ops.top_k(logits, min(top_k, logits.shape[-1]))
            logits = ops.where(logits < kept[:, -1:], -float("inf"), logits)
        probabilities = ops.softmax(logits, axis=-1)
        if top_p is not None:
            probabilities = _nucleus(probabilities, top_p)
        cumulated = ops.cumsum(probabilities, axis=-1)
        # The factor keeps the target below the last sum, rounding included.
        target = ops.take(uniform, time, axis=0)[:, None] * cumulated[:, -1:] * (1 - 1e-6)
        return ops.argmax(ops.cast(cumulated > target, "int32"), axis=-1)

    return _follow(draw, step, state, start_id, end_id, max_length)


def _follow(choose, step, state, start_id, end_id, max_length):
    """Follows one sequence per batch entry, each token picked by `choose(log_probs, time)`."""
    steps = at_least_one("max_length", max_length)
    batch = batch_size(state)

    def record(found, time, logits, weights, state):
        finished = found["finished"]
        weights = ops.where(finished[:, None], 0, weights)
        log_probs = log_softmax(logits)
        tokens = ops.cast(choose(log_probs, time), "int32")
        tokens = ops.where(finished, end_id, tokens)
        gained = ops.take_along_axis(log_probs, tokens[:, None], axis=1)[:, 0]
        ended = ops.logical_or(finished, tokens == end_id)
        return {
            "state": state,
            "tokens": write_step(found["tokens"], time, tokens),
            "weights": write_entry(found["weights"], time, weights),
            "log_probs": found["log_probs"] + ops.where(finished, 0.0, gained),
            "lengths": found["lengths"] + ops.cast(ops.logical_not(ended), "int32"),
            "finished": ended,
            "last": tokens,
        }

    logits, weights, next_state = step(first_tokens(start_id, batch), state)
    check_ids(start_id, end_id, logits.shape[-1])
    carried = Carried(state, next_state, lambda tensor: tensor)
    nothing = {
        "tokens": full((batch, steps), end_id),
        "weights": ops.zeros((steps, *ops.shape(weights)), dtype=weights.dtype),
        "log_probs": ops.zeros((batch,), dtype="float32"),
        "lengths": full((batch,), 0),
        "finished": ops.zeros((batch,), dtype="bool"),
    }
    first = ops.convert_to_tensor(0, dtype="int32")
    found = record(nothing, first, logits, weights, carried.moving(next_state))

    def advance(time, found):
        logits, weights, state = step(found["last"], carried.whole(found["state"]))
        return time + 1, record(found, time, logits, weights, carried.moving(state))

    found = repeat(advance, found, steps, lambda found: ops.all(found["finished"]))
    return SearchResult(
        tokens=found["tokens"][:, None],
        lengths=found["lengths"][:, None],
        log_probs=found["log_probs"][:, None],
        scores=found["log_probs"][:, None],
        attention=ops.transpose(found["weights"], (1, 0, 2))[:, None],
    )


def _nucleus(probabilities, top_p):
    ordered = ops.flip(ops.sort(probabilities, axis=-1), axis=-1)
    before = ops.cumsum(ordered, axis=-1) - ordered
    smallest = ops.min(ops.where(before < top_p, ordered, 1.0), axis=-1, keepdims=True)
    return ops.where(probabilities < smallest, 0.0, probabilities)
