"""Diverse beam search: groups of beams that say something else than the groups before them."""

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention.processors.process import validate_processors
from keras_attention.search.beam_search import search_beams
from keras_attention.search.loop import (
    SearchResult,
    first_tokens,
    get_batch_size,
)
from keras_attention.search.selection import Options, select


def diverse_beam(
    step: Callable,
    state: Any,
    start_id: Any,
    end_id: int | None,
    max_length: int,
    beam_width: int,
    groups: int,
    diversity_penalty: float = 0.5,
    length_penalty_weight: float = 0.0,
    processors: Sequence[Callable] = (),
) -> SearchResult:
    """A beam search in groups of `beam_width / groups`, one after the other at each step.

        theta'(y_t) = theta(y_t) - diversity_penalty * n(y_t)         (section 4, Hamming diversity)

    n(y_t) is how many sequences of the groups before chose y_t at this step. The penalty decides
    what a group goes on with; `log_probs` and `scores` are without it. One group is `beam` without
    a coverage penalty.

    Args:
        step, state, start_id, end_id, max_length, processors: See `greedy`. All of the state is
            repeated once per beam, or once per group where beams share it.
        beam_width: Sequences of all groups together, N.
        groups: Number of groups, of which `beam_width` is a multiple.
        diversity_penalty: Larger is more diverse.
        length_penalty_weight: See `beam`.

    Reference: Vijayakumar et al. 2018, "Diverse Beam Search for Improved Description of Complex
    Scenes", arXiv:1610.02424, algorithm 1.
    """
    width = validation.positive_integer("beam_width", beam_width)
    if width % validation.positive_integer("groups", groups):
        raise ValueError(f"`groups` is {groups}; expected a divisor of `beam_width`, {width}.")
    penalty = validation.at_least("diversity_penalty", diversity_penalty, 0)
    own = Options(
        end_id,
        validation.positive_integer("max_length", max_length),
        width // groups,
        width // groups,
        validation.finite("length_penalty_weight", length_penalty_weight),
        0.0,
        validate_processors(processors),
    )

    def select_in_groups(time: Any, logits: Any, beams: dict, options: Options) -> tuple:
        rows, words = beams["finished"].shape[1], logits.shape[-1]
        batch_size = ops.shape(beams["finished"])[0] // groups
        grouped = ops.reshape(logits, (batch_size, groups, rows, words))
        counts, found = ops.zeros((batch_size, words), "float32"), []
        for group in range(groups):
            mine = {
                name: ops.reshape(beams[name], (batch_size, groups, *ops.shape(beams[name])[1:]))
                for name in ("tokens", "log_probs", "lengths", "coverage", "finished")
            }
            mine = {name: tensor[:, group] for name, tensor in mine.items()}
            own_logits = ops.reshape(grouped[:, group], (batch_size * rows, words))
            chosen = select(time, own_logits, mine, options, penalty * counts)
            found.append(chosen)
            counts = counts + _count(chosen, mine, words)
        return tuple(
            ops.reshape(ops.stack(parts, axis=1), (batch_size * groups, *ops.shape(parts[0])[1:]))
            for parts in zip(*found, strict=True)
        )

    batch_size = get_batch_size(state)
    state = keras.tree.map_structure(lambda tensor: ops.repeat(tensor, groups, axis=0), state)
    if not isinstance(start_id, numbers.Number):
        start_id = ops.repeat(first_tokens(start_id, batch_size), groups, axis=0)
    found = search_beams(step, state, start_id, own, select_in_groups)
    return _merge(found, batch_size, width)


def _count(chosen: tuple, beams: dict, words: int) -> Any:
    """Returns how often each word was chosen just now, (B, V)."""
    _, log_probs, parents, tokens, _ = chosen
    finished = ops.take_along_axis(beams["finished"], parents, axis=1)
    is_none = ops.logical_or(finished, log_probs == -float("inf"))
    each = ops.one_hot(tokens, words, dtype="float32")
    return ops.sum(ops.where(is_none[:, :, None], 0.0, each), axis=1)


def _merge(found: SearchResult, batch_size: Any, width: int) -> SearchResult:
    """The groups of an entry side by side, (B G, K, ...) to (B, G K, ...), the best first."""
    merged = [
        None if x is None else ops.reshape(x, (batch_size, width, *ops.shape(x)[2:])) for x in found
    ]
    scores = merged[3]  # of which NaN come last
    _, order = ops.top_k(ops.where(ops.isnan(scores), -float("inf"), scores), width)

    def sort(tensor: Any) -> Any:
        axes = (*ops.shape(order), *[1] * (len(tensor.shape) - 2))
        return ops.take_along_axis(tensor, ops.reshape(order, axes), axis=1)

    return SearchResult(*(None if tensor is None else sort(tensor) for tensor in merged))
