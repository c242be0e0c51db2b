"""One sequence per batch entry: greedy search, sampling, and the score of a given one."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._ops.take_per_row import take_per_row
from keras_attention.processors.logits import known_rows, validate_token
from keras_attention.search.loop import Options, SearchResult, search


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
    select = _select(lambda log_probs, time: ops.argmax(log_probs, axis=-1))
    return search(step, state, start_id, Options(end_id, max_length, processors), select)


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
    n: int = 1,
) -> SearchResult:
    """Samples each token from the model's distribution.

    Args:
        step, state, start_id, end_id, max_length, processors: See `greedy`.
        temperature: Divides the logits; below 1 sharpens, above 1 flattens.
        top_k: Samples from the k most probable tokens only.
        top_p: Samples from the smallest set of tokens that has probability p or more (nucleus
            sampling; Holtzman et al. 2020, arXiv:1904.09751).
        seed: An integer or a `keras.random.SeedGenerator`.
        n: Samples per batch entry, N; the most probable first.
    """
    validation.at_least("temperature", temperature, 1e-6)
    if top_k is not None:
        validation.positive_integer("top_k", top_k)
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"`top_p` is {top_p}; expected a number in (0, 1].")
    # One uniform number per step and row, sampled before the loop: a seed generator inside it
    # fails on JAX.
    rows = ops.shape(keras.tree.flatten(state)[0])[0] * validation.positive_integer("n", n)
    shape = (validation.positive_integer("max_length", max_length), rows)
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

    options = Options(end_id, max_length, processors, groups=n)
    return search(step, state, start_id, options, _select(sample_token))


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

    Example:

    >>> step = lambda tokens, state: (keras.ops.zeros((1, 4)), None, state)  # 1/4 each
    >>> found = ka.search.score(step, np.zeros((1, 1)), [[1, 3, 2]], start_id=0, end_id=3)
    >>> np.exp(found.log_probs).tolist(), np.array(found.lengths).tolist()
    ([[0.0625]], [[1]])
    """
    known, tokens = known_rows(tokens), ops.cast(ops.convert_to_tensor(tokens), "int32")
    validation.rank("tokens", tokens.shape, "(batch, steps)")
    steps = validation.positive_integer("tokens.shape[1]", tokens.shape[1])
    counted = [t for row in known for t in (row[: row.index(end_id)] if end_id in row else row)]

    def given(log_probs: Any, time: Any) -> Any:
        for token in (min(counted, default=0), max(counted, default=0)):
            validate_token("tokens", token, log_probs)
        return ops.take(tokens, time, axis=1)

    return search(step, state, start_id, Options(end_id, steps, ()), _select(given))


def _select(choose: Callable) -> Callable:
    """Returns the `select` of a search that goes on with the tokens `choose(log_probs, time)`."""

    def select(log_probs: Any, time: Any, found: dict, options: Options) -> tuple:
        finished = found["finished"]  # (B, 1)
        # NaN, or -inf where all tokens are forbidden: the sequence ends.
        is_possible = ops.any(log_probs > -float("inf"), axis=-1, keepdims=True)
        ended = ops.logical_or(finished, ops.logical_not(is_possible))
        tokens = ops.cast(choose(log_probs, time), "int32")[:, None]
        tokens = ops.where(ended, options.end_id or 0, tokens)
        each = take_per_row(log_probs, tokens)
        so_far = found["log_probs"] + ops.where(finished, 0.0, each)
        if options.end_id is not None:
            ended = ops.logical_or(ended, tokens == options.end_id)
        lengths = found["lengths"] + ops.cast(ops.logical_not(ended), "int32")
        chosen = {"last": tokens, "log_probs": so_far, "scores": so_far, "lengths": lengths}
        return None, {**chosen, "finished": ended, "settled": ended}

    return select


def _nucleus(probabilities: Any, top_p: float) -> Any:
    """Sets the probabilities outside the nucleus to zero."""
    ordered = ops.flip(ops.sort(probabilities, axis=-1), axis=-1)
    before = ops.cumsum(ordered, axis=-1) - ordered
    smallest = ops.min(ops.where(before < top_p, ordered, 1.0), axis=-1, keepdims=True)
    return ops.where(probabilities < smallest, 0.0, probabilities)
