"""Search: from a step function to sequences. Whole batches, in graph, on any backend.

A step maps tokens (N,) and a state to logits (N, V), attention weights (N, S) and the next state;
the state is any nest of tensors with the batch first. Nobody tiles anything by hand: `beam` widens
the state itself, and parts of it that a step hands on untouched, such as a memory, stay out of the
loop. Shapes: B batch, N results per batch entry, T steps, S memory steps, V vocabulary.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops


class SearchResult(NamedTuple):
    """What a search found, best first.

    Attributes:
        tokens: (B, N, T), int32; the end id from the end on.
        lengths: (B, N), int32: how many tokens come before the end id.
        log_probs: (B, N), float32: log p of the tokens and the end id.
        scores: (B, N), float32: `log_probs` after the penalties, which rank the results.
        attention: (B, N, T, S): the weights at each step, zero after the end.
    """

    tokens: Any
    lengths: Any
    log_probs: Any
    scores: Any
    attention: Any


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
    if temperature <= 0:
        raise ValueError(f"`temperature` is {temperature}; accepted is a number above 0.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"`top_k` is {top_k}; accepted is an integer of at least 1.")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"`top_p` is {top_p}; accepted is a number in (0, 1].")
    # One uniform number per step and row is all that a draw takes, and it is drawn before the loop:
    # a generator inside of it breaks on JAX.
    uniform = keras.random.uniform((_checked_length(max_length), _batch_size(state)), seed=seed)

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
    that wrote it; cp counts for finished sequences only, over the memory steps that got any weight
    (padding got none). This is how TensorFlow Addons reads the formula.

    Args:
        step, state, start_id, end_id, max_length: See `greedy`.
        beam_width: Sequences kept per batch entry, at most V.
        length_penalty_weight: 0 for none; larger favours longer sequences.
        coverage_penalty_weight: 0 for none; larger favours attention that covers the memory.
        n_best: Sequences returned, N. Defaults to `beam_width`.

    Reference: Wu et al. 2016, "Google's Neural Machine Translation System", arXiv:1609.08144.
    """
    steps = _checked_length(max_length)
    n_best = beam_width if n_best is None else n_best
    if not 1 <= n_best <= beam_width:
        raise ValueError(
            f"`n_best` is {n_best} and `beam_width` {beam_width}; "
            "accepted is 1 <= n_best <= beam_width."
        )
    batch = _batch_size(state)

    def penalised(log_probs, lengths, coverage, finished):
        scores = log_probs
        if length_penalty_weight:
            scores = scores / ((5.0 + ops.cast(lengths, "float32")) / 6.0) ** length_penalty_weight
        if coverage_penalty_weight:
            covered = ops.where(coverage == 0, 1.0, ops.minimum(coverage, 1.0))  # (B, K, S)
            penalty = ops.sum(ops.log(covered), axis=-1) * ops.cast(finished, "float32")
            scores = scores + coverage_penalty_weight * penalty[:, :, None]
        return scores

    def best(log_probs, lengths, coverage, finished):
        """Picks from candidates (B, K, V) of sequences (B, K)."""
        vocabulary = log_probs.shape[-1]
        is_end = ops.arange(vocabulary) == end_id
        grown = ops.cast(ops.logical_not(ops.logical_or(finished[:, :, None], is_end)), "int32")
        scores = penalised(log_probs, lengths[:, :, None] + grown, coverage, finished)
        scores, indices = ops.top_k(ops.reshape(scores, (batch, -1)), beam_width)  # (B, K)
        indices = ops.cast(indices, "int32")
        picked = ops.take_along_axis(ops.reshape(log_probs, (batch, -1)), indices, axis=1)
        return scores, picked, indices // vocabulary, indices % vocabulary

    # The first step is taken before there are beams: all of them start from its best tokens.
    logits, weights, next_state = step(_first_tokens(start_id, batch), state)
    if logits.shape[-1] < beam_width:
        raise ValueError(
            f"`beam_width` is {beam_width}; accepted is at most the vocabulary, {logits.shape[-1]}."
        )
    scores, log_probs, _, tokens = best(
        _log_softmax(logits)[:, None],
        ops.zeros((batch, 1), dtype="int32"),
        ops.cast(weights, "float32")[:, None],
        ops.zeros((batch, 1), dtype="bool"),
    )

    def widen(tensor):
        return ops.repeat(tensor, beam_width, axis=0)

    carried = _Carried(state, next_state, widen)
    first_rows = ops.arange(batch, dtype="int32")[:, None] * beam_width  # (B, 1)
    weights = widen(weights)  # (B K, S)
    found = {
        "state": [widen(leaf) for leaf in carried.moving(next_state)],
        "tokens": _write(_full((batch, beam_width, steps), end_id), 0, tokens),
        # Weights stay in the row they were written to. `path` says which row a sequence was in at
        # each step, so that its weights can be fetched at the end.
        "path": _full((batch, beam_width, steps), 0) + first_rows[:, :, None],
        "weights": _keep(ops.zeros((steps, *ops.shape(weights)), dtype=weights.dtype), 0, weights),
        "coverage": ops.reshape(ops.cast(weights, "float32"), (batch, beam_width, -1)),
        "log_probs": log_probs,
        "scores": scores,
        "lengths": _full((batch, beam_width), 1),
        "finished": tokens == end_id,
        "last": tokens,
    }

    def advance(time, found):
        finished = found["finished"]
        logits, weights, state = step(
            ops.reshape(found["last"], (-1,)), carried.whole(found["state"])
        )
        log_probs = ops.reshape(_log_softmax(logits), (batch, beam_width, logits.shape[-1]))
        # All that a finished sequence can do is to end once more, at no cost.
        frozen = ops.where(ops.arange(logits.shape[-1]) == end_id, 0.0, -float("inf"))
        log_probs = ops.where(finished[:, :, None], frozen, log_probs)
        weights = ops.where(ops.reshape(finished, (-1, 1)), 0, weights)
        coverage = found["coverage"] + ops.reshape(
            ops.cast(weights, "float32"), ops.shape(found["coverage"])
        )
        scores, log_probs, parents, tokens = best(
            log_probs + found["log_probs"][:, :, None], found["lengths"], coverage, finished
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
            "tokens": _write(follow(found["tokens"]), time, tokens),
            "path": _write(follow(found["path"]), time, parents),
            "weights": _keep(found["weights"], time, weights),
            "coverage": follow(coverage),
            "log_probs": log_probs,
            "scores": scores,
            "lengths": follow(found["lengths"]) + ops.cast(ops.logical_not(finished), "int32"),
            "finished": ops.logical_or(finished, tokens == end_id),
            "last": tokens,
        }

    found = _repeat(advance, found, steps)
    path = found["path"][:, :n_best] + ops.arange(steps, dtype="int32") * batch * beam_width
    kept = ops.reshape(found["weights"], (-1, ops.shape(weights)[-1]))  # (T B K, S)
    return SearchResult(
        tokens=found["tokens"][:, :n_best],
        lengths=(found["lengths"] - ops.cast(found["finished"], "int32"))[:, :n_best],
        log_probs=found["log_probs"][:, :n_best],
        scores=found["scores"][:, :n_best],
        attention=ops.take(kept, path, axis=0),
    )


def _follow(choose, step, state, start_id, end_id, max_length):
    """Follows one sequence per batch entry, each token picked by `choose(log_probs, time)`."""
    steps = _checked_length(max_length)
    batch = _batch_size(state)

    def write(found, time, logits, weights, state):
        finished = found["finished"]
        log_probs = _log_softmax(logits)
        tokens = ops.cast(choose(log_probs, time), "int32")
        tokens = ops.where(finished, end_id, tokens)
        gained = ops.take_along_axis(log_probs, tokens[:, None], axis=1)[:, 0]
        ended = ops.logical_or(finished, tokens == end_id)
        return {
            "state": state,
            "tokens": _write(found["tokens"], time, tokens),
            "weights": _keep(found["weights"], time, ops.where(finished[:, None], 0, weights)),
            "log_probs": found["log_probs"] + ops.where(finished, 0.0, gained),
            "lengths": found["lengths"] + ops.cast(ops.logical_not(ended), "int32"),
            "finished": ended,
            "last": tokens,
        }

    logits, weights, next_state = step(_first_tokens(start_id, batch), state)
    carried = _Carried(state, next_state, lambda tensor: tensor)
    nothing = {
        "tokens": _full((batch, steps), end_id),
        "weights": ops.zeros((steps, *ops.shape(weights)), dtype=weights.dtype),
        "log_probs": ops.zeros((batch,), dtype="float32"),
        "lengths": _full((batch,), 0),
        "finished": ops.zeros((batch,), dtype="bool"),
    }
    first = ops.convert_to_tensor(0, dtype="int32")
    found = write(nothing, first, logits, weights, carried.moving(next_state))

    def advance(time, found):
        logits, weights, state = step(found["last"], carried.whole(found["state"]))
        return time + 1, write(found, time, logits, weights, carried.moving(state))

    found = _repeat(advance, found, steps)
    return SearchResult(
        tokens=found["tokens"][:, None],
        lengths=found["lengths"][:, None],
        log_probs=found["log_probs"][:, None],
        scores=found["log_probs"][:, None],
        attention=ops.transpose(found["weights"], (1, 0, 2))[:, None],
    )


class _Carried:
    """The part of a state that a step moves, as against what it hands on untouched."""

    def __init__(self, state, next_state, widen):
        before, after = keras.tree.flatten(state), keras.tree.flatten(next_state)
        self._structure = next_state
        self._moves = [new is not old for old, new in zip(before, after, strict=True)]
        self._still = [
            None if moves else widen(leaf) for leaf, moves in zip(after, self._moves, strict=True)
        ]

    def moving(self, state):
        leaves = keras.tree.flatten(state)
        return [leaf for leaf, moves in zip(leaves, self._moves, strict=True) if moves]

    def whole(self, moving):
        moving = iter(moving)
        leaves = [
            next(moving) if moves else still
            for still, moves in zip(self._still, self._moves, strict=True)
        ]
        return keras.tree.pack_sequence_as(self._structure, leaves)


def _repeat(advance, found, steps):
    """Advances from step 1 until all sequences are finished or `steps` are taken."""
    _, found = ops.while_loop(
        lambda time, found: ops.logical_not(ops.all(found["finished"])),
        advance,
        (ops.convert_to_tensor(1, dtype="int32"), found),
        maximum_iterations=steps - 1,
    )
    return found


def _nucleus(probabilities, top_p):
    ordered = ops.flip(ops.sort(probabilities, axis=-1), axis=-1)
    before = ops.cumsum(ordered, axis=-1) - ordered
    smallest = ops.min(ops.where(before < top_p, ordered, 1.0), axis=-1, keepdims=True)
    return ops.where(probabilities < smallest, 0.0, probabilities)


def _log_softmax(logits):
    return ops.log_softmax(ops.cast(logits, "float32"), axis=-1)


def _batch_size(state):
    return ops.shape(keras.tree.flatten(state)[0])[0]


def _checked_length(max_length):
    if max_length < 1:
        raise ValueError(f"`max_length` is {max_length}; accepted is an integer of at least 1.")
    return max_length


def _first_tokens(start_id, batch):
    return ops.broadcast_to(ops.cast(start_id, "int32"), (batch,))


def _full(shape, value):
    return ops.full(shape, value, dtype="int32")


def _write(rows, time, values):
    """Writes `values` (...,) at step `time` of `rows` (..., T)."""
    return ops.where(ops.arange(rows.shape[-1]) == time, values[..., None], rows)


def _keep(buffer, time, values):
    """Writes `values` as entry `time` of `buffer`, whose first axis is time."""
    return ops.scatter_update(buffer, ops.reshape(time, (1, 1)), values[None])
